"""Checkpoints: whole or absent, some kept, refused by another recipe; one run a folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.training.line import Line, newest, recipe
from training.errors import TrainingError
from training.loop.checkpoint import (
    Checkpoint,
    checkpoint_folders,
    load_checkpoint,
    recipe_digest,
    save_checkpoint,
)
from training.loop.run_folder import locked, replace_model
from training.loop.train import run
from training.recipe.model import RecipeError


def names(folder: Path) -> list[str]:
    return [path.name for path in checkpoint_folders(folder)]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_newest_and_each_of_some_steps_are_kept(tmp_path: Path) -> None:
    run(Line(), recipe(steps=7, books={"keep": 2, "keep_every": 3}), tmp_path)
    assert names(tmp_path) == ["step-000003", "step-000006", "step-000007"]
    assert list((tmp_path / "checkpoints").glob(".*")) == []


def test_a_checkpoint_says_what_it_is(tmp_path: Path) -> None:
    run(Line(), recipe(), tmp_path)
    state = json.loads((newest(tmp_path) / "state.json").read_text())
    assert state["step"] == 6
    assert state["recipe"]["optimisation"]["learning_rate"] == 0.05
    assert state["digest"] == recipe_digest(recipe())
    assert state["digest"] != recipe_digest(recipe(steps=9))


def test_another_recipe_may_not_go_on_in_the_same_folder(tmp_path: Path) -> None:
    run(Line(), recipe(), tmp_path)
    before = files(tmp_path)
    with pytest.raises(RecipeError) as caught:
        run(Line(), recipe(steps=9, accumulate=2), tmp_path)
    assert "another version of recipe 'line'" in str(caught.value)
    assert "optimisation.accumulate at its default there, 2 here" in str(caught.value)
    assert "optimisation.steps 6 there, 9 here" in str(caught.value)
    assert files(tmp_path) == before


def test_bookkeeping_may_change_between_runs(tmp_path: Path) -> None:
    first = Line()
    first.stop_at = 2
    run(first, recipe(), tmp_path)
    second = Line()
    run(second, recipe(books={"save_every": 100, "keep": 5, "samples": 0}), tmp_path)
    assert second.steps == [3, 4, 5]


def test_a_model_without_a_checkpoint_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.pt").write_bytes(b"of an earlier version")
    before = files(tmp_path / "model")
    with pytest.raises(RecipeError, match="holds a model but no checkpoint"):
        run(Line(), recipe(), tmp_path)
    assert files(tmp_path / "model") == before


def test_a_checkpoint_that_was_being_written_is_ignored_and_removed(tmp_path: Path) -> None:
    first = Line()
    first.stop_at = 1
    run(first, recipe(), tmp_path)
    partial = tmp_path / "checkpoints" / ".step-000003.partial"
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"half")
    second = Line()
    run(second, recipe(), tmp_path)
    assert second.steps == [2, 3, 4, 5]
    assert not partial.exists()


@pytest.mark.parametrize("left", [0, 1, 20])
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "state.json"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, name: str, left: int) -> None:
    run(Line(), recipe(), tmp_path)
    path = newest(tmp_path) / name
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(TrainingError, match=r"step-000006 is damaged .* the one before"):
        run(Line(), recipe(), tmp_path)


def test_tied_and_strided_weights_come_back(tmp_path: Path) -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    weights = {**model.state_dict(), "t": torch.arange(6.0).reshape(2, 3).T}
    save_checkpoint(tmp_path, recipe(), Checkpoint(1, weights, {}, {"state": {}}))
    loaded = load_checkpoint(tmp_path, recipe())
    assert loaded is not None
    for name, tensor in weights.items():
        assert torch.equal(loaded.model[name], tensor)


FULL_DISK = """
import resource, sys
from pathlib import Path
from tests.training.line import Line, recipe
from training.errors import TrainingError
from training.loop.train import run

class Grown(Line):
    # Fills the disk: no file may become larger than it is allowed after step 2.
    def loss(self, rng, step):
        if step == 3:
            size = {limit}
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        return super().loss(rng, step)

    def export(self, folder):
        import torch
        super().export(folder)
        with (folder / "more.bin").open("wb") as file:
            file.write(bytes({exported}))

try:
    run(Grown(), recipe(books={{"keep": 9, "samples": 0}}), Path(sys.argv[1]))
except TrainingError as error:
    print("SAID", error)
"""


@pytest.mark.parametrize(
    ("limit", "exported", "words"),
    [
        (1500, 0, "step-000004: the checkpoint could not be written"),
        (20_000, 40_000, "model could not be written"),
    ],
)
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, limit: int, exported: int, words: str
) -> None:
    code = FULL_DISK.format(limit=limit, exported=exported)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("SAID")]
    assert done.returncode == 0, done.stderr
    assert len(said) == 1
    assert words in said[0]
    saved = 3 if exported == 0 else 4
    assert names(tmp_path) == [f"step-{n:06d}" for n in range(1, saved + 1)]
    assert list((tmp_path / "checkpoints").glob(".*")) == []
    weights = torch.load(tmp_path / "model" / "weights.pt", weights_only=True)
    third = load_file(tmp_path / "checkpoints" / "step-000003" / "average.safetensors")
    assert torch.equal(weights["first.weight"], third["first.weight"])


def test_a_second_run_may_not_write_into_the_folder(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(TrainingError, match="another run is writing into"):
        run(Line(), recipe(), tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / ".lock"]
    run(Line(), recipe(steps=1), tmp_path)  # free again


def test_a_model_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    replace_model(tmp_path, lambda folder: (folder.mkdir(), (folder / "a").write_text("one"))[0])

    def fails(folder: Path) -> None:
        folder.mkdir()
        (folder / "a").write_text("tw")
        raise OSError(28, "No space left on device")

    with pytest.raises(TrainingError, match="No space left on device"):
        replace_model(tmp_path, fails)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "a").read_text() == "one"
