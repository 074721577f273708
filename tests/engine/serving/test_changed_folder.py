"""What is written about a clip is how it was made, also after its model's folder was changed.

Kind seen elsewhere: LiteRT-LM#2080 (a sampler that is kept although its settings have changed).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.checkpoints import Catalog
from engine.checkpoints.errors import ModelChangedError
from engine.serving import Engine, FailureReason, GenerationRequest, JobFailed
from engine.serving.execution.pipeline_cache import PipelineCache
from engine.settings import ModelOptions
from tests.engine.serving.clips import watch_video

MakeEngine = Callable[..., Engine]
MakeRequest = Callable[..., GenerationRequest]


def change(file: Path, **keys: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


@pytest.fixture
def folder(tiny_t2v: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_t2v, tmp_path / "mine"))


def other_sampler(folder: Path) -> None:
    change(folder / "floor33.json", scheduler="ddim-original")


def other_schedule(folder: Path) -> None:
    change(folder / "scheduler" / "scheduler_config.json", beta_end=0.02)


def other_text_layer(folder: Path) -> None:
    change(folder / "model_index.json", text_layer="last")


def shared_noise(folder: Path) -> None:
    change(folder / "model_index.json", shared_noise=0.75)


@pytest.mark.parametrize("alter", [other_sampler, other_schedule, other_text_layer, shared_noise])
async def test_a_clip_is_made_by_the_model_that_it_names(
    folder: Path,
    make_engine: MakeEngine,
    request_for: MakeRequest,
    tmp_path: Path,
    alter: Callable[[Path], None],
) -> None:
    engine = make_engine(model_dirs={"mine": folder})
    before = await engine.submit(request_for("before", model="mine", steps=5)).result()
    alter(folder)
    after = await engine.submit(request_for("after", model="mine", steps=5)).result()
    fresh = make_engine(model_dirs={"mine": folder}, output_dir=tmp_path / "again")
    again = await fresh.submit(request_for("again", model="mine", steps=5)).result()
    assert after.model_revision == again.model_revision != before.model_revision
    assert np.array_equal(watch_video(after.path).frames, watch_video(again.path).frames)
    assert not np.array_equal(watch_video(after.path).frames, watch_video(before.path).frames)


def test_a_folder_that_changed_since_the_request_is_not_passed_off(folder: Path) -> None:
    models = PipelineCache("cpu", lambda name: ModelOptions())
    catalog = Catalog({"mine": folder})
    asked = catalog.get("mine")
    other_schedule(folder)
    with pytest.raises(ModelChangedError):
        models.get(asked)
    assert models.broken == {}
    assert models.get(catalog.get("mine"))


def test_a_folder_that_changes_while_it_is_loaded_is_not_passed_off(folder: Path) -> None:
    models = PipelineCache("cpu", lambda name: ModelOptions())
    catalog = Catalog({"mine": folder})

    def alter(part: str) -> None:
        if part == "unet":
            other_schedule(folder)

    with pytest.raises(ModelChangedError):
        models.get(catalog.get("mine"), alter)
    assert models.get(catalog.get("mine"))


async def test_a_model_that_cannot_be_loaded_is_not_ready_any_more(
    folder: Path, make_engine: MakeEngine, request_for: MakeRequest
) -> None:
    """The weights do not fit the configuration, which only loading them tells."""
    config = folder / "unet" / "config.json"
    fitting = config.read_text()
    change(config, num_head_channels=16, context_dim=8)
    engine = make_engine(model_dirs={"mine": folder})
    assert {card.name: card for card in engine.models()}["mine"].ready
    with pytest.raises(JobFailed) as failed:
        await engine.submit(request_for("first", model="mine")).result()
    assert failed.value.reason is FailureReason.MODEL_UNAVAILABLE
    card = {card.name: card for card in engine.models()}["mine"]
    assert not card.ready
    assert "unet cannot be loaded" in (card.problem or "")
    config.write_text(fitting)
    assert (await engine.submit(request_for("second", model="mine")).result()).path.exists()
    assert {card.name: card for card in engine.models()}["mine"].ready
