"""The paper's whole scheme in the small, on real files, up to a clip that the engine makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from engine.__main__ import main as engine
from engine.checkpoints import Catalog
from tests.training.video.studio import PROJECTION, Studio
from training.cli import main
from training.recipe.model import Recipe
from training.stages.initialise import image_names, reinitialized

MODEL = "diffusion_pytorch_model.safetensors"
PLANS: dict[str, dict[str, Any]] = {
    "high": {"precision": "bf16", "gradient_checkpointing": True},
    "tune": {"precision": "bf16", "gradient_checkpointing": True, "accumulate": 2},
}


@pytest.fixture(scope="module")
def recipes(studio: Studio) -> dict[str, Recipe]:
    """All five stages, trained: from Stable Diffusion's weights to tuned image-to-video."""
    small, large = studio.data(size=32, share=0.5), studio.data(size=64, share=0.5)
    stages = {
        "low": {"kind": "text-to-video", "initialise": str(studio.models), "data": small},
        "high": {"kind": "text-to-video", "start": _run(studio, "low"), "data": large},
        "map": {
            "kind": "image-to-video",
            "start": _run(studio, "high") / "model",
            "trains": "mapping",
            "condition_frame": "random",
            "both_dropout": 0.25,
            "data": large,
            **PROJECTION,
        },
        "tune": {
            "kind": "image-to-video",
            "start": _run(studio, "map") / "model",
            "trains": "video",
            "both_dropout": 0.25,
            "data": large,
        },
    }
    made = {}
    for name, stage in stages.items():
        recipe = studio.recipe(name, stage=stage, **PLANS.get(name, {}))
        studio.train(recipe)
        made[name] = recipe
    return made


def _run(studio: Studio, name: str) -> Path:
    return studio.folder / "runs" / name


def weights(studio: Studio, name: str, part: str = "unet") -> dict[str, torch.Tensor]:
    return load_file(_run(studio, name) / "model" / part / MODEL)


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_each_stage_goes_on_from_the_one_before(studio: Studio, recipes: dict[str, Recipe]) -> None:
    log = (_run(studio, "high") / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2]
    moved = changed(weights(studio, "low"), weights(studio, "high"))
    assert any(".temporal." in name for name in moved)
    assert any(".spatial." in name for name in moved)


def test_clips_that_cannot_be_read_are_counted_in_the_log(studio: Studio) -> None:
    (studio.folder / "torn.mp4").write_bytes((studio.folder / "0.mp4").read_bytes()[:600])
    table = studio.folder / "torn.csv"
    table.write_text("path,caption\ntorn.mp4,a torn film\n1.mp4,a circle\n0.mp4,another\n")
    data = studio.data() | {"clips": {"path": table}}
    run = studio.train(studio.recipe("torn", stage={"kind": "text-to-video", "data": data}))
    skipped = [json.loads(line)["skipped"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert skipped[0] <= skipped[1]
    assert skipped[1] >= 1


def test_a_frozen_text_tower_is_not_written_again(
    studio: Studio, recipes: dict[str, Recipe]
) -> None:
    for name in recipes:
        assert not (_run(studio, name) / "model" / "text_encoder").exists()


def test_the_mapping_stage_moves_the_mapping_alone(
    studio: Studio, recipes: dict[str, Recipe]
) -> None:
    before, after = weights(studio, "high"), weights(studio, "map")
    assert changed(before, after) == set()
    new = set(after) - set(before)
    assert new
    assert all("_image." in name for name in new)


def test_the_tuning_stage_freezes_both_mappings_and_moves_all_else(
    studio: Studio, recipes: dict[str, Recipe]
) -> None:
    before, after = weights(studio, "map"), weights(studio, "tune")
    mappings = ("to_k_image.", "to_v_image.", "attn_2.to_k.", "attn_2.to_v.")
    frozen = {n for n in before if ".spatial." in n and any(m in n for m in mappings)}
    assert len(frozen) >= 16
    assert set(before) - changed(before, after) == frozen
    part = "image_projection"
    assert changed(weights(studio, "map", part), weights(studio, "tune", part)) == set()


@pytest.mark.parametrize("name", ["high", "tune"])
def test_the_engine_makes_a_clip_with_an_exported_run(
    studio: Studio, recipes: dict[str, Recipe], name: str, tmp_path: Path
) -> None:
    folder = studio.export(recipes[name])
    card = Catalog({name: folder}).get(name)
    assert card.problem is None
    assert (card.title, card.licence) == (f"Tiny {name}", "CC0-1.0")
    assert (card.width, card.height, card.num_frames) == (64, 64, 4)
    assert (80, 48) in card.sizes
    schedule = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert schedule["prediction_type"] == "epsilon"
    assert schedule["rescale_to"] == 0.3
    assert not schedule["rescale_betas_zero_snr"]
    output = tmp_path / "clip.mp4"
    picture = ["--image", str(studio.pictures / "1.jpg")] if card.wants_image else []
    arguments = ["generate", "--model", name, "--model-dir", f"{name}={folder}", *picture]
    asked = ["--prompt", "a red circle", "--steps", "2", "--fps", "8", "--output", str(output)]
    assert engine([*arguments, *asked]) == 0
    assert output.stat().st_size > 500


def test_a_run_begins_as_the_image_model_is(studio: Studio) -> None:
    from training.stages.text_to_video import TextToVideoTask

    stage = {"kind": "text-to-video", "initialise": str(studio.models)}
    recipe = studio.recipe("begin", stage=stage)
    task = TextToVideoTask(recipe.stage, recipe.optimisation)  # type: ignore[arg-type]
    own, theirs = task.model.unet.state_dict(), load_file(studio.models / "unet" / MODEL)
    names = image_names(task.model.unet)
    assert all(torch.equal(own[ours], theirs[name]) for ours, name in names.items())
    assert all(name in names or reinitialized(name) for name in own)
    task.close()


def test_a_model_of_own_data_needs_a_licence(
    studio: Studio, recipes: dict[str, Recipe], capsys: pytest.CaptureFixture[str]
) -> None:
    path = studio.write(recipes["high"].model_copy(update={"publication": None, "name": "bare"}))
    run = str(_run(studio, "high"))
    assert main(["export", str(path), "--run", run, "--output", str(studio.folder / "x")]) == 2
    assert "needs [publication]" in capsys.readouterr().err


def test_precomputed_latents_train_the_same_stage(studio: Studio) -> None:
    output = studio.folder / "latents"
    models = ["--vae", str(studio.models / "vae"), "--text", str(studio.models)]
    shape = ["--size", "64x64", "--no-buckets", "--frames", "4", "--max-stride", "2"]
    arguments = ["data", "precompute", str(studio.table), "--output", str(output), *models, *shape]
    assert main([*arguments, "--cut-threshold", "0"]) == 0
    data = {"kind": "latents", "clips": output, "workers": 0}
    recipe = studio.recipe("latents", stage={"kind": "text-to-video", "data": data})
    studio.train(recipe)
    facts = json.loads((studio.export(recipe) / "floor33.json").read_text())
    assert (facts["width"], facts["num_frames"]) == (64, 4)


def test_latents_of_another_autoencoder_are_refused(
    studio: Studio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "latents"
    arguments = ["data", "precompute", str(studio.table), "--output", str(output), "--frames", "2"]
    shape = ["--size", "64x64", "--no-buckets", "--max-stride", "1", "--vae"]
    assert main([*arguments, *shape, str(studio.models / "vae")]) == 0
    manifest = json.loads((output / "manifest.json").read_text())
    manifest["vae"]["digest"] = "0" * 64
    (output / "manifest.json").write_text(json.dumps(manifest))
    data = {"kind": "latents", "clips": output, "workers": 0}
    recipe = studio.write(studio.recipe("other", stage={"kind": "text-to-video", "data": data}))
    assert main(["run", str(recipe), "--output", str(tmp_path / "run"), "--cpu"]) == 1
    assert "was precomputed with autoencoder" in capsys.readouterr().err
