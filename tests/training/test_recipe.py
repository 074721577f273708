"""Recipes: the shipped ones are valid, wrong ones are refused by the name of the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.cli import main
from training.recipe.model import RECIPE_FOLDER, RecipeError, TextToVideoStage, load_recipe

GOOD = """
name = "mine"
[stage]
kind = "vae"
[optimisation]
steps = 10
batch_size = 4
learning_rate = 1e-3
"""


def write(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("path", sorted(RECIPE_FOLDER.glob("*.toml")), ids=lambda p: p.stem)
def test_shipped_recipes_are_valid_and_named_like_their_files(path: Path) -> None:
    assert load_recipe(path.stem).name == path.stem


def test_there_are_shipped_recipes_for_every_kind_of_stage() -> None:
    kinds = {load_recipe(path.stem).stage.kind for path in RECIPE_FOLDER.glob("*.toml")}
    assert kinds == {"vae", "contrastive", "caption-facts", "text-to-video", "image-to-video"}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("steps = 10", "steps = 0", "optimisation.steps"),
        ("steps = 10", "steps = 10\nspeed = 3", "optimisation.speed"),
        ("learning_rate = 1e-3", "learning_rate = -1", "optimisation.learning_rate"),
        ('kind = "vae"', 'kind = "gan"', "stage"),
        ('kind = "vae"', 'kind = "vae"\nedge_weight = -1', "stage.vae.edge_weight"),
        ('name = "mine"', 'name = "../mine"', "name"),
        ("[stage]", "[stage", "mine.toml"),
    ],
)
def test_wrong_recipes_name_the_key(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, GOOD.replace(old, new)))
    assert words in str(caught.value)


def test_an_unknown_recipe_lists_the_shipped_ones() -> None:
    with pytest.raises(RecipeError, match="demo-t2v, demo-t2v-images"):
        load_recipe("nonesuch")


def test_the_command_line_reports_it_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "nonesuch"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("training: no recipe 'nonesuch'")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000,
        "a = " + "{a = " * 3000,
        "a = " + "1" * 6000,
        "a = " + "[" * 200 + "]" * 200,
        "[" + "a." * 200 + "a]",
    ],
)
def test_a_recipe_that_nobody_wrote_by_hand_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep.toml"
    path.write_text(text)
    with pytest.raises(RecipeError) as refused:
        load_recipe(str(path))
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)


OLD = """
name = "mine"
[stage]
kind = "text-to-video"
vae = "v"
towers = "t"
text_rate = 0.0
temporal_rate = 2.0
[optimisation]
steps = 10
batch_size = 2
learning_rate = 1e-3
"""


def test_earlier_names_of_keys_work_and_the_new_ones_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = load_recipe(write(tmp_path, OLD))
    stage = recipe.stage
    assert isinstance(stage, TextToVideoStage)
    assert (stage.text_lr_scale, stage.temporal_lr_scale) == (0.0, 2.0)
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "stage.temporal_rate is called temporal_lr_scale now",
        "stage.text_rate is called text_lr_scale now",
    ]
    again = OLD.replace("text_rate = 0.0", "text_rate = 0.0\ntext_lr_scale = 0.1")
    with pytest.raises(RecipeError, match="text_rate is the earlier name of text_lr_scale"):
        load_recipe(write(tmp_path, again))
