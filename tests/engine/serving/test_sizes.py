"""A size that a model does not make is answered with what works."""

import math
from pathlib import Path

import pytest

from engine.checkpoints import PUBLISHED, Catalog, ModelCard
from engine.serving import GenerationRequest, RequestError
from engine.serving.request import explain_sizes, resolve

SIZES = PUBLISHED["t2v-512"].facts.sizes


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ((1024, 576), "512x320"),
        ((500, 300), "512x320"),
        ((300, 500), "320x512"),
        ((512, 512), "448x320|384x384|320x448"),
        ((1, 1), "256x256"),
        ((0, 0), "256x256"),
        ((4096, 8), "512x256"),
        ((260, 250), "256x256"),
    ],
)
def test_the_nearest_size_and_the_range_are_told(asked: tuple[int, int], nearest: str) -> None:
    text = explain_sizes("t2v-512", SIZES, asked)
    start, _, rest = text.partition("; the nearest size that works is ")
    assert start == f"t2v-512 makes no clips of {asked[0]}x{asked[1]}"
    assert rest.partition(".")[0] in nearest.split("|")
    assert "Its own is 512x320; all of its 17 sizes have sides from 256 to 512" in rest
    assert "multiples of 64, and at most 163840 pixels" in rest


def test_of_few_sizes_all_are_told() -> None:
    text = explain_sizes("demo", ((64, 64), (96, 64)), (65, 64))
    assert text == "The size must be 64x64, 96x64 for demo, not 65x64."


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_request_is_answered_so(name: str) -> None:
    facts = PUBLISHED[name].facts

    class Installed(Catalog):
        """As if the model had been installed, which takes gigabytes."""

        def get(self, name: str) -> ModelCard:
            return ModelCard(
                name=name,
                title=facts.title,
                task="text-to-video",
                path=Path(name),
                width=facts.width,
                height=facts.height,
                sizes=((facts.width, facts.height), *facts.sizes),
                num_frames=facts.num_frames,
                default_fps=facts.default_fps,
                default_steps=facts.default_steps,
                ready=True,
            )

    def request(width: int, height: int) -> GenerationRequest:
        return GenerationRequest(
            job_id="a", model=name, prompt="a cat", seed=1, width=width, height=height
        )

    made = resolve(request(320, 512), Installed()).params
    assert (made.width, made.height) == (320, 512)
    with pytest.raises(RequestError, match=f"{name} makes no clips of 640x360; the nearest") as no:
        resolve(request(640, 360), Installed())
    assert no.value.field == "size"


def test_of_each_size_that_works_the_nearest_is_itself() -> None:
    for size in SIZES:
        assert f"works is {size[0]}x{size[1]}." in explain_sizes("m", SIZES, size)
    assert math.gcd(*(side for size in SIZES for side in size)) == 64
