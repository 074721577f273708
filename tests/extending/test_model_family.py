"""A model family in one file: it draws a moving gradient, and the engine makes an MP4 of it."""

# [example]
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.serving import ModelCard, ModelOptions, RequestError, ResolvedParams
from engine.serving.backends import (
    BeforePart,
    ModelBackend,
    OnStep,
    Supports,
    VideoModel,
    default_backends,
)
from engine.serving.cancellation import Check

Frames = npt.NDArray[np.uint8]


class GradientModel:
    """A loaded model. A real one holds networks; its clips are latents until `decode`."""

    bytes = 0

    def configure(self, options: ModelOptions) -> None:
        """Nothing can be switched."""

    def run(self, batch: Sequence[ResolvedParams], on_step: OnStep) -> Sequence[Frames]:
        clips = [draw(params) for params in batch]
        for step in range(batch[0].steps):
            on_step(step + 1, clips)  # publishes progress; ends the run if all are cancelled
        return clips

    def decode(self, clip: Frames, check: Check, *, low_memory: bool = False) -> Frames:
        check()
        return clip

    def preview(self, clip: Frames) -> Image.Image:
        return Image.fromarray(clip[len(clip) // 2])

    def release(self) -> None:
        """Nothing lies on the device."""


def draw(params: ResolvedParams) -> Frames:
    time = np.arange(params.num_frames)[:, None, None] / params.num_frames
    x = np.arange(params.width)[None, None, :] / params.width
    y = np.arange(params.height)[None, :, None] / params.height
    planes = np.broadcast_arrays((x + time) % 1, y + 0 * time * x, time + 0 * x * y)
    return (np.stack(planes, axis=-1) * 255).astype(np.uint8)


class GradientBackend(ModelBackend):
    """The family: which folders are its own, what their models can do, and how one is loaded."""

    family = "gradient"

    def describe(self, name: str, folder: Path) -> ModelCard | None:
        if not (folder / "gradient.txt").is_file():
            return None
        return ModelCard(
            name=name,
            title="A moving gradient",
            task="text-to-video",
            path=folder,
            family=self.family,
            width=64,
            height=48,
            sizes=((64, 48),),
            num_frames=9,
            fps_choices=(8,),
            default_fps=8,
            default_steps=2,
            max_steps=10,
            default_guidance=1.0,
            max_guidance=1.0,
            scheduler="none",
            licence="CC0-1.0",
            revision="1",
            ready=True,
        )

    def supports(self, card: ModelCard) -> Supports:
        return Supports(batches=True)

    def check(self, card: ModelCard, params: ResolvedParams) -> None:
        if params.num_frames % 4 != 1:
            raise RequestError("num_frames", f"{card.name} makes 1, 5 or 9 frames.")

    def load(
        self, card: ModelCard, device: str, options: ModelOptions, before_part: BeforePart
    ) -> VideoModel:
        return GradientModel()


BACKENDS = default_backends().with_family(GradientBackend())
# [/example]

import pytest

from engine.serving import (
    Engine,
    EngineSettings,
    Event,
    Finished,
    GenerationRequest,
    Progress,
)
from tests.engine.serving.clips import watch_video


@pytest.fixture
def settings(tmp_path: Path) -> EngineSettings:
    folder = tmp_path / "models" / "gradient"
    folder.mkdir(parents=True)
    (folder / "gradient.txt").touch()
    return EngineSettings(
        output_dir=tmp_path / "out", devices=("cpu",), models_dir=folder.parent, min_free_mb=1
    )


async def test_the_engine_makes_a_clip_of_another_family(settings: EngineSettings) -> None:
    async with Engine(settings, BACKENDS) as engine:
        cards = {card.name: card for card in engine.models()}
        assert cards["gradient"].ready
        job = engine.submit(GenerationRequest(job_id="a", model="gradient", prompt="a dawn"))
        events: list[Event] = [event async for event in job]
    steps = [event.step for event in events if isinstance(event, Progress)]
    assert steps == [1, 2]
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.result.model_revision == "1"
    video = watch_video(end.result.path)
    assert len(video.frames) == 9
    # Enlarged fivefold, as small clips are; red grows to the right, blue with time.
    assert video.frames.shape[1:3] == (336, 448)
    first, last = video.frames[0].astype(int), video.frames[-1].astype(int)
    assert first[100, 400, 0] > first[100, 50, 0] + 100
    assert last[100, 100, 2] > first[100, 100, 2] + 100


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"num_frames": 4}, "num_frames"),
        ({"fps": 24}, "fps"),
        ({"negative_prompt": "rain"}, "negative_prompt"),
        ({"width": 32, "height": 32}, "size"),
    ],
)
async def test_what_the_family_cannot_do_is_refused(
    settings: EngineSettings, changes: dict[str, int | str], field: str
) -> None:
    async with Engine(settings, BACKENDS) as engine:
        with pytest.raises(RequestError) as caught:
            engine.submit(
                GenerationRequest(job_id="a", model="gradient", prompt="a dawn", **changes)  # type: ignore[arg-type]
            )
    assert caught.value.field == field


async def test_without_the_family_its_folder_is_no_model(settings: EngineSettings) -> None:
    async with Engine(settings) as engine:
        assert "gradient" not in {card.name for card in engine.models()}
