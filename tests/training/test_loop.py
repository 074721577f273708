"""The loop, seen through a task small enough to follow by hand."""

from __future__ import annotations

import itertools
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from training.checkpoint import CHECKPOINT
from training.loop import ParameterGroup, TrainingError, learning_rate, run
from training.recipe import Recipe, RecipeError


def recipe(steps: int = 6, **changes: object) -> Recipe:
    raw = {
        "name": "line",
        "seed": 4,
        "stage": {"kind": "vae"},
        "optimisation": {
            "steps": steps,
            "batch_size": 8,
            "learning_rate": 0.05,
            "warmup": 2,
            "ema": 0.5,
        },
        "bookkeeping": {"log_every": 1, "evaluate_every": 3, "save_every": 1},
    }
    return Recipe.model_validate(raw | changes)


class Line:
    """Fits a line with dropout, so that numpy's and torch's randomness both matter."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.steps: list[int] = []
        self.stop_at: int | None = None
        self.poison_at: int | None = None

    def parameter_groups(self) -> list[ParameterGroup]:
        first, _, last = self.model
        return [
            ParameterGroup(list(first.parameters())),
            ParameterGroup(list(last.parameters()), rate=2.0),
        ]

    def loss(self, rng: np.random.Generator, step: int) -> Tensor:
        self.steps.append(step)
        if step == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        x = torch.from_numpy(rng.normal(size=(8, 3))).float()
        loss = (self.model(x)[:, 0] - x.sum(1)).square().mean()
        return loss * float("nan") if step == self.poison_at else loss

    def evaluate(self) -> dict[str, float]:
        return {"weight": float(self.model[0].weight.sum())}

    def export(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.model.state_dict(), folder / "weights.pt")


def result(task: Line, folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return task.model.state_dict(), torch.load(folder / "model" / "weights.pt", weights_only=True)


@settings(max_examples=5, deadline=None)
@given(stop=st.integers(0, 4))
def test_resumed_equals_uninterrupted_bit_for_bit(
    stop: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole_folder, parts_folder = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("parts")
    whole = Line()
    run(whole, recipe(), whole_folder)

    first = Line()
    first.stop_at = stop
    run(first, recipe(), parts_folder)
    second = Line()
    run(second, recipe(), parts_folder)

    assert first.steps + second.steps == whole.steps == list(range(6))
    for ours, theirs in zip(result(second, parts_folder), result(whole, whole_folder), strict=True):
        for name, tensor in theirs.items():
            assert torch.equal(ours[name], tensor), name


def test_sigterm_is_the_users_again_afterwards(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run(Line(), recipe(steps=1), tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before


def test_exported_weights_are_the_average_and_the_live_ones_stay(tmp_path: Path) -> None:
    task = Line()
    run(task, recipe(), tmp_path)
    live, exported = result(task, tmp_path)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    for name in live:
        assert torch.equal(exported[name], state["average"][name])
        assert torch.equal(live[name], state["model"][name])
    assert not torch.equal(live["0.weight"], exported["0.weight"])


def test_the_log_has_a_line_a_step_and_the_figures(tmp_path: Path) -> None:
    run(Line(), recipe(), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "weight" in line] == [3, 6]
    assert all(line["loss"] > 0 and line["lr"] > 0 for line in lines)


def test_a_loss_that_is_no_number_ends_with_a_clear_word(tmp_path: Path) -> None:
    task = Line()
    task.poison_at = 3
    with pytest.raises(TrainingError, match="step 3: the loss is nan; lower learning_rate"):
        run(task, recipe(), tmp_path)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert state["step"] == 3  # the last good checkpoint is untouched


def test_another_recipe_may_not_go_on_in_the_same_folder(tmp_path: Path) -> None:
    run(Line(), recipe(), tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(RecipeError, match="another version of recipe 'line'"):
        run(Line(), recipe(steps=9), tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    run(Line(), recipe(), tmp_path)
    again = Line()
    run(again, recipe(), tmp_path)
    assert again.steps == []


def test_the_rate_warms_up_holds_and_falls() -> None:
    plan = recipe(steps=100)
    rates = [learning_rate(plan, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.025)
    assert rates[1:30] == pytest.approx([0.05] * 29)
    assert all(a > b for a, b in itertools.pairwise(rates[31:]))
    assert rates[-1] == pytest.approx(0.0005, rel=0.1)
