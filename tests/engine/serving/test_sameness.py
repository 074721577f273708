"""A seed means one clip, whoever asks when, and whichever sampler the model's facts name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.checkpoints import Catalog, load_pipeline
from engine.serving import Engine, GenerationRequest, RequestError
from tests.engine.serving.clips import watch_video

MakeEngine = Callable[..., Engine]
MakeRequest = Callable[..., GenerationRequest]


@pytest.fixture
def published(tiny_t2v: Path, tmp_path: Path) -> Path:
    """The tiny model, served as the published scripts sample."""
    folder = Path(shutil.copytree(tiny_t2v, tmp_path / "published"))
    facts = json.loads((folder / "floor33.json").read_text())
    (folder / "floor33.json").write_text(json.dumps(facts | {"scheduler": "ddim-original"}))
    return folder


async def test_neither_order_nor_company_nor_worker_changes_a_clip(
    make_engine: MakeEngine, request_for: MakeRequest, tmp_path: Path
) -> None:
    """Every clip is sampled alone, so equal means equal to the bit, in the file, too."""
    wishes: list[dict[str, Any]] = [
        {"prompt": "a red ball", "seed": 1},
        {"prompt": "a red ball", "seed": 2},
        {"prompt": "two dogs", "seed": 1, "num_frames": 2, "guidance": 1.0},
        {"prompt": "a red ball", "seed": 1, "width": 48, "fps": 24, "negative_prompt": "blue"},
    ]
    clips: list[list[bytes]] = []
    for turn, order in enumerate(([0, 1, 2, 3], [3, 1, 0, 2], [2, 0, 3, 1])):
        # The first two share a worker; the third has another, which has loaded the model anew.
        if turn != 1:
            engine = make_engine(output_dir=tmp_path / f"out-{turn}")
        jobs = {
            index: engine.submit(request_for(f"turn{turn}-{index}", **wishes[index]))
            for index in order
        }
        results = {index: await job.result() for index, job in jobs.items()}
        clips.append([results[index].path.read_bytes() for index in range(len(wishes))])
    assert clips[0] == clips[1] == clips[2]
    assert len(set(clips[0])) == len(wishes)


async def test_the_published_sampler_is_served_with_its_noise(
    make_engine: MakeEngine, request_for: MakeRequest, tiny_t2v: Path, published: Path
) -> None:
    engine = make_engine(model_dirs={"tiny-t2v": tiny_t2v, "published": published})
    request = request_for("a", model="published", steps=4)
    enlarged = watch_video((await engine.submit(request).result()).path).frames
    served = enlarged.reshape(4, 32, 10, 32, 10, 3).mean(axis=(2, 4))
    pipeline = load_pipeline(Catalog({"published": published}).get("published"))

    def sampled(eta: float) -> np.ndarray:
        frames = pipeline(
            "a red ball",
            height=32,
            width=32,
            num_frames=4,
            num_inference_steps=4,
            guidance_scale=3.0,
            eta=eta,
            fps=8,
            generator=torch.Generator().manual_seed(7),
        ).frames[0]
        return frames.permute(0, 2, 3, 1).numpy() * 255

    with_noise, without = (float(np.abs(served - sampled(eta)).mean()) for eta in (1.0, 0.0))
    assert with_noise < 0.5 * without


async def test_steps_that_the_sampler_cannot_run_are_refused_before_they_are_queued(
    make_engine: MakeEngine, request_for: MakeRequest, tiny_t2v: Path, published: Path
) -> None:
    engine = make_engine(model_dirs={"tiny-t2v": tiny_t2v, "published": published})
    with pytest.raises(RequestError, match=r"published: .* 27 steps .* 26, 28") as caught:
        engine.submit(request_for("a", model="published", steps=27))
    assert caught.value.field == "steps"
    assert engine.resolve(request_for("b", model="published", steps=28)).params.steps == 28
    assert engine.resolve(request_for("c", steps=27)).params.steps == 27
