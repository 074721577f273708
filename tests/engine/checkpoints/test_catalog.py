"""Model folders of every condition, seen through the catalogue."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from engine.checkpoints import Catalog, ModelCard, ModelLoadError, UnknownModelError
from engine.checkpoints.folder.metadata import ModelMetadata, read_metadata

FACTS: dict[str, Any] = {
    "name": "small",
    "title": "A small model",
    "task": "text-to-video",
    "width": 64,
    "height": 48,
    "num_frames": 16,
    "fps": [24, 8, 12],
    "default_fps": 8,
    "default_steps": 16,
    "max_steps": 100,
    "default_guidance": 4.0,
    "scheduler": "dpm++2m",
    "licence": "Apache-2.0",
    "max_guidance": 20,
}


def write_model(folder: Path, **changes: Any) -> Path:
    """A folder that has everything the catalogue looks at; weights of a few bytes."""
    folder.mkdir(parents=True)
    index = {
        "_class_name": "TextToVideoPipeline",
        "scheduler": ["engine.schedulers", "SolverScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["engine.models", "VideoUNet"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "floor33.json").write_text(json.dumps(FACTS | changes))
    for part in ("scheduler", "tokenizer"):
        (folder / part).mkdir()
    schedule = {"_class_name": "SolverScheduler"}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(schedule))
    words = {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}
    (folder / "tokenizer" / "tokenizer.json").write_text(json.dumps(words))
    for part in ("unet", "vae", "text_encoder"):
        (folder / part).mkdir()
        (folder / part / "config.json").write_text("{}")
        save_file({"weight": np.arange(12, dtype=np.float32)}, weights(folder, part))
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "models" / "small")


def card_of(folder: Path) -> ModelCard:
    return Catalog(shipped=folder.parent).get(folder.name)


def weights(folder: Path, part: str = "unet") -> Path:
    stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
    return folder / part / f"{stem}.safetensors"


def test_a_whole_folder_is_ready(model: Path) -> None:
    card = card_of(model)
    assert card.ready
    assert card.problem is None
    assert (card.name, card.title, card.task) == ("small", "A small model", "text-to-video")
    assert card.path == model
    assert card.sizes == ((64, 48),)
    assert card.fps_choices == (8, 12, 24)
    assert (card.fps_min, card.fps_max) == (8, 24)
    assert len(card.revision) == 12
    assert not card.wants_image


def test_further_sizes_come_after_the_native_one(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "wide", sizes=[[128, 64], [64, 48]])
    assert card_of(folder).sizes == ((64, 48), (128, 64))


def delete_facts(folder: Path) -> None:
    (folder / "floor33.json").unlink()


def break_facts(folder: Path) -> None:
    (folder / "floor33.json").write_text("{half")


def delete_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


def empty_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("{}")


def list_for_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("[1]")


def delete_weights(folder: Path) -> None:
    weights(folder).unlink()


def only_pickled_weights(folder: Path) -> None:
    weights(folder).rename(folder / "unet" / "diffusion_pytorch_model.bin")


def delete_component(folder: Path) -> None:
    shutil.rmtree(folder / "vae")


def delete_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")


def truncate_weights(folder: Path) -> None:
    weights(folder).write_bytes(weights(folder).read_bytes()[:-4])


def garble_header(folder: Path) -> None:
    weights(folder).write_bytes(b"\xff" * 64)


def empty_weights(folder: Path) -> None:
    weights(folder).write_bytes(b"")


def no_tensors(folder: Path) -> None:
    save_file({}, weights(folder))


def lose_a_shard(folder: Path) -> None:
    index = {"weight_map": {"a": weights(folder).name, "b": "second.safetensors"}}
    index_file = folder / "unet" / f"{weights(folder).name}.index.json"
    index_file.write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (delete_facts, "floor33.json is missing"),
        (break_facts, "floor33.json cannot be read as JSON"),
        (delete_index, "model_index.json is missing"),
        (empty_index, "lists no components"),
        (list_for_index, "does not hold a JSON object"),
        (delete_weights, "unet holds no .safetensors weights"),
        (only_pickled_weights, "unet holds no .safetensors weights"),
        (delete_component, "vae is missing"),
        (delete_tokenizer, "tokenizer is missing"),
        (truncate_weights, "unet.*is damaged"),
        (garble_header, "unet.*is damaged"),
        (empty_weights, "unet.*is damaged"),
        (no_tensors, "holds no tensors"),
        (lose_a_shard, "lacks the weight file second.safetensors"),
    ],
)
def test_a_broken_folder_is_listed_with_its_problem(
    model: Path, damage: Callable[[Path], None], text: str
) -> None:
    whole = write_model(model.parent / "whole")
    damage(model)
    cards = {card.name: card for card in Catalog(shipped=model.parent).cards()}
    assert cards[whole.name].ready
    broken = cards["small"]
    assert not broken.ready
    assert broken.problem is not None
    assert broken.problem.endswith(".")
    assert "\n" not in broken.problem
    assert re.search(text, broken.problem), broken.problem


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"width": 63}, "width: .*multiple of 8"),
        ({"height": 0}, "height: .*greater than or equal to 8"),
        ({"task": "audio"}, "task: .*'text-to-video' or 'image-to-video'"),
        ({"fps": []}, "fps: "),
        ({"default_fps": 9}, "default_fps 9 is not one of fps"),
        ({"default_steps": 200}, "default_steps 200 exceeds max_steps 100"),
        ({"default_guidance": 30}, "default_guidance 30.0 exceeds max_guidance 20"),
        ({"default_guidance": 0.5}, "default_guidance: .*greater than or equal to 1"),
        ({"name": "../up"}, "name: "),
        ({"colour": "red"}, "colour: "),
    ],
)
def test_impossible_facts_are_refused_by_key(
    tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    folder = write_model(tmp_path / "models" / "small", **changes)
    with pytest.raises(ModelLoadError, match=text):
        read_metadata(folder)
    assert not card_of(folder).ready


def test_facts_can_be_written_by_the_same_class(tmp_path: Path) -> None:
    facts = ModelMetadata.model_validate(FACTS)
    (tmp_path / "floor33.json").write_text(facts.model_dump_json())
    assert read_metadata(tmp_path) == facts


def test_a_broken_folder_keeps_its_task(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "models" / "pictures")
    (folder / "model_index.json").write_text('{"_class_name": "ImageToVideoPipeline"}')
    (folder / "floor33.json").unlink()
    assert card_of(folder).wants_image


def test_the_revision_follows_the_weights(model: Path) -> None:
    catalog = Catalog(shipped=model.parent)
    before = catalog.get("small").revision
    assert catalog.get("small").revision == before
    save_file({"weight": np.arange(13, dtype=np.float32)}, weights(model))
    after = catalog.get("small").revision
    assert after != before
    assert Catalog(shipped=model.parent).get("small").revision == after


def test_equal_weights_have_equal_revisions_wherever_they_lie(tmp_path: Path) -> None:
    one, two = write_model(tmp_path / "one"), write_model(tmp_path / "two")
    assert card_of(one).revision == card_of(two).revision
    weights(two, "vae").write_bytes(weights(two, "vae").read_bytes()[:-1] + b"\x01")
    assert card_of(one).revision != card_of(two).revision


def test_a_repaired_model_becomes_ready(model: Path) -> None:
    catalog = Catalog(shipped=model.parent)
    whole = weights(model).read_bytes()
    weights(model).write_bytes(whole[:-1])
    assert not catalog.get("small").ready
    weights(model).write_bytes(whole)
    assert catalog.get("small").ready


def test_extra_models_are_known_by_the_name_they_are_given(model: Path, tmp_path: Path) -> None:
    elsewhere = write_model(tmp_path / "elsewhere", title="Mine")
    catalog = Catalog(
        {"mine": elsewhere, "gone": tmp_path / "nowhere", "small": elsewhere},
        shipped=model.parent,
    )
    assert [card.name for card in catalog.cards()] == ["gone", "mine", "small"]
    assert catalog.get("mine").title == "Mine"
    assert catalog.get("small").title == "Mine", "a name in the settings goes before a shipped one"
    assert "does not exist" in str(catalog.get("gone").problem)


def test_an_unknown_name_is_answered_with_the_known_ones(model: Path) -> None:
    write_model(model.parent / "large")
    with pytest.raises(UnknownModelError) as caught:
        Catalog(shipped=model.parent).get("smal")
    assert "Did you mean small?" in str(caught.value)
    assert "Known models: large, small." in str(caught.value)


def test_no_models_at_all_is_no_error(tmp_path: Path) -> None:
    assert Catalog(shipped=tmp_path / "none").cards() == ()
    with pytest.raises(UnknownModelError, match="none is installed"):
        Catalog(shipped=tmp_path / "none").get("small")


def test_the_shipped_models_are_found_beside_the_package() -> None:
    for card in Catalog().cards():
        assert card.ready, card.problem
