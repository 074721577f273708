"""A training stage is added by one file in `training/stages`, and its recipe."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

import training.stages
from tests.extending.example import write_example
from training.cli import main

# [example]
"""training/stages/mean_colour.py: a linear layer that learns the mean colour of pictures."""

from typing import Literal, Self

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from training.loop import distributed
from training.loop.task import ParameterGroup, StepKind
from training.recipe.model import Optimisation, Recipe, StageSection
from training.stages.components import Components
from training.stages.stage_task import StageTask


class MeanColourStage(StageSection):
    """The keys of ``[stage]``."""

    kind: Literal["mean-colour"] = "mean-colour"
    side: int = 8


class MeanColourTask(StageTask[Tensor]):
    """Pictures of noise, and their mean colour."""

    section = MeanColourStage

    @classmethod
    def of(cls, recipe: Recipe, components: Components) -> Self:
        assert isinstance(recipe.stage, MeanColourStage)
        return cls(recipe.stage, recipe.optimisation)

    def __init__(self, stage: MeanColourStage, plan: Optimisation) -> None:
        self.stage, self.plan = stage, plan
        self.model = nn.Linear(3 * stage.side**2, 3)

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup(list(self.model.parameters()))]

    def draw(self, rng: np.random.Generator, step: int) -> Tensor:
        count = distributed.share_of(self.plan.batch_size, self.plan.accumulate)
        pixels = rng.random((count, 3, self.stage.side, self.stage.side))
        return torch.from_numpy(pixels).float().to(self.device)

    def batch_loss(self, batch: Tensor, rng: np.random.Generator) -> Tensor:
        return (self.model(batch.flatten(1)) - batch.mean(dim=(2, 3))).square().mean()

    def step_kinds(self) -> tuple[StepKind, ...]:
        return (StepKind("picture", 1.0, self.plan.batch_size),)

    def example_batch(self, kind: str, count: int) -> Tensor:
        return torch.zeros(count, 3, self.stage.side, self.stage.side, device=self.device)

    def evaluate(self) -> dict[str, float]:
        rng = np.random.default_rng(0)
        return {"error": self.batch_loss(self.draw(rng, 0), rng).item()}

    def export(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        save_file(self.model.state_dict(), folder / "model.safetensors")


# [/example]

RECIPE = """
# [recipe]
name = "colours"

[stage]
kind = "mean-colour"
side = 4

[optimisation]
steps = 2
batch_size = 8
learning_rate = 1e-2
# [/recipe]
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stage's file in place, and its recipe."""
    write_example(Path(__file__), tmp_path / "package" / "mean_colour.py")
    monkeypatch.setattr(
        training.stages, "__path__", [*training.stages.__path__, str(tmp_path / "package")]
    )
    monkeypatch.delitem(sys.modules, "training.stages.mean_colour", raising=False)
    path = tmp_path / "colours.toml"
    path.write_text(RECIPE)
    return path


def test_a_stage_in_one_file_is_trained(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(["run", str(recipe), "--output", str(run), "--cpu"]) == 0
    lines = (run / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 2
    assert load_file(run / "model" / "model.safetensors")["weight"].shape == (3, 48)


def test_and_planned(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(recipe), "--gpu", "l4", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["parameters"] == plan["trained"] == 3 * 48 + 3
    assert plan["flops_per_sample"] == {"picture": 2 * 2 * 48 * 3}
    assert plan["samples"] == {"picture": 16}


def test_a_wrong_key_is_named(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe.write_text(RECIPE.replace("side = 4", 'side = "wide"'))
    assert main(["run", str(recipe)]) == 2
    assert "side" in capsys.readouterr().err
