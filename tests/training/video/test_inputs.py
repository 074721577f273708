"""Recipes on real data: what contradicts itself or is not there is refused by its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from engine.checkpoints.original.presets import PRESETS
from tests.training.video.studio import Studio
from training.cli import main
from training.loop.checkpoint import recipe_digest
from training.recipe.inputs import check_inputs
from training.recipe.model import RecipeError, TextToVideoStage, load_recipe
from training.recipe.sections import ScheduleConfig
from training.stages.diffusion import make_stage_scheduler

PLACES: dict[str, Any] = {"vae": "v", "towers": "t"}
MEDIA: dict[str, Any] = {
    "kind": "media",
    "clips": {"path": "clips.csv"},
    "resolution": {"width": 64, "height": 64},
}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"data": MEDIA, "image_share": 0.5}, "image_share belongs to the procedural world"),
        ({"data": {**MEDIA, "kind": "tapes"}}, "media"),
        ({"data": {**MEDIA, "speed": 2}}, "speed"),
        ({"data": {"kind": "latents", "clips": "l", "picture_share": 0.5}}, "pictures must name"),
        ({"schedule": {"prediction": "epsilon"}}, "zero_terminal_snr = false"),
        ({"schedule": {"rescale_to": 1.5}}, "rescale_to"),
        ({"architecture": "t2v-1024", "model_channels": 64}, "model_channels: the architecture"),
        ({"architecture": "t2v-2048"}, "t2v-1024"),
        ({"start": "s", "architecture": "t2v-1024"}, "architecture: for new networks"),
        ({"start": "s", "initialise": "sd"}, "initialise: for new networks"),
    ],
)
def test_contradictions_are_refused_by_their_key(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TextToVideoStage.model_validate(PLACES | keys)


def test_shares_that_exclude_each_other_add_up_to_one_at_most() -> None:
    recipe = load_recipe("i2v-map")
    values = recipe.stage.model_dump(exclude_unset=True) | {"both_dropout": 0.95}
    with pytest.raises(ValidationError, match=r"add up to 1\.05"):
        type(recipe.stage).model_validate(values)


@pytest.mark.parametrize(
    ("name", "rescale"), [("t2v-512", "t2v-512"), ("t2v-1024", "t2v-1024"), ("i2v-tune", "i2v-512")]
)
def test_the_rescale_is_that_of_the_released_model(name: str, rescale: str) -> None:
    stage: Any = load_recipe(name).stage
    scheduler = make_stage_scheduler(stage.schedule)
    released = PRESETS[rescale].config
    assert scheduler.config.rescale_to == released.rescale.target
    assert scheduler.config.beta_start == released.linear_start
    assert scheduler.config.beta_end == released.linear_end
    assert scheduler.config.prediction_type == "epsilon"


def test_the_default_schedule_is_the_demos() -> None:
    stage: Any = load_recipe("demo-t2v").stage
    assert dict(make_stage_scheduler(stage.schedule).config) == dict(
        make_stage_scheduler(ScheduleConfig()).config
    )


def test_what_people_read_does_not_make_another_run(studio: Studio) -> None:
    recipe = studio.recipe("same", stage={"kind": "text-to-video"})
    bare = recipe.model_copy(update={"publication": None})
    assert recipe_digest(recipe) == recipe_digest(bare)


def test_missing_models_and_data_are_named_before_anything_is_loaded(
    studio: Studio,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("t2v-256", "i2v-tune"):
        assert main(["run", name]) == 2
        error = capsys.readouterr().err
        assert error.startswith("training: stage.vae: models/stable-diffusion-2-1-base/vae")
        assert error.count("\n") == 1
    data = studio.data(clips={"path": "data/webvid.csv"})
    path = studio.write(studio.recipe("gone", stage={"kind": "text-to-video", "data": data}))
    assert main(["run", str(path), "--output", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "stage.data.clips.path: data/webvid.csv does not exist" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"initialise": "models/none"}, "stage.initialise: models/none does not exist"),
        ({"start": "runs/none/model"}, "run the stage before first"),
        ({"data": {"kind": "latents", "clips": "none"}}, "stage.data.clips: none does not exist"),
    ],
)
def test_each_kind_of_place_is_looked_at(studio: Studio, keys: dict[str, Any], words: str) -> None:
    recipe = studio.recipe("places", stage={"kind": "text-to-video", **keys})
    with pytest.raises(RecipeError, match=words):
        check_inputs(recipe)


def test_a_repository_is_not_looked_for_on_the_disk(studio: Studio) -> None:
    stage = {"kind": "text-to-video", "initialise": "hub:owner/name"}
    check_inputs(studio.recipe("hub", stage=stage))
