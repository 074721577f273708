"""The loop, seen through a task small enough to follow by hand."""

from __future__ import annotations

import itertools
import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from tests.training.line import Line, exported, newest, recipe
from training.errors import TrainingError
from training.loop.checkpoint import checkpoint_folders
from training.loop.train import export_average, learning_rate, run
from training.recipe.model import RecipeError


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


@settings(max_examples=8, deadline=None)
@given(
    stop=st.integers(0, 4),
    accumulate=st.sampled_from([1, 2, 4]),
    precision=st.sampled_from(["fp32", "bf16"]),
    ema_device=st.sampled_from(["model", "cpu"]),
)
def test_resumed_equals_uninterrupted_bit_for_bit(
    stop: int,
    accumulate: int,
    precision: str,
    ema_device: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    whole_folder, parts_folder = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("parts")
    plan = recipe(accumulate=accumulate, precision=precision, ema_device=ema_device)
    whole = Line(plan)
    run(whole, plan, whole_folder)

    first = Line(plan)
    first.stop_at = stop  # SIGTERM in the first pass of that step
    run(first, plan, parts_folder)
    assert newest(parts_folder).name == f"step-{stop + 1:06d}"
    second = Line(plan)
    run(second, plan, parts_folder)

    assert first.steps + second.steps == whole.steps
    assert sorted(set(whole.steps)) == list(range(6))
    assert len(whole.steps) == 6 * accumulate
    assert losses(parts_folder) == losses(whole_folder)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], tensor), name
        assert torch.equal(exported(parts_folder)[name], exported(whole_folder)[name]), name


def test_passes_add_up_to_the_step_of_the_whole_batch(tmp_path: Path) -> None:
    # Each pass draws its own share, so two passes see other numbers than one; their mean is the
    # gradient of both together.
    plan = recipe(steps=1, accumulate=2, clip_norm=1e9)
    task = Line(plan)
    run(task, plan, tmp_path)
    whole = torch.load(newest(tmp_path) / "optimizer.pt", weights_only=True)
    again = Line(plan)
    again.model.train()
    grads = []
    for share in range(2):
        rng = np.random.default_rng([plan.seed, 0, share])
        torch.manual_seed(int(rng.integers(2**63)))
        again.model.zero_grad()
        again.loss(rng, 0).backward()
        grads.append(again.model.last.weight.grad.clone())
    moment = whole["state"][4]["exp_avg"]  # the fifth parameter: (1 - beta1) times the gradient
    torch.testing.assert_close(moment, 0.1 * (grads[0] + grads[1]) / 2)


def test_bf16_computes_in_bfloat16_and_keeps_float32_weights(tmp_path: Path) -> None:
    run(Line(), recipe(), tmp_path / "fp32")
    task = Line()
    run(task, recipe(precision="bf16"), tmp_path / "bf16")
    assert {p.dtype for p in task.model.parameters()} == {torch.float32}
    pairs = list(zip(losses(tmp_path / "fp32"), losses(tmp_path / "bf16"), strict=True))
    assert all(a != b for a, b in pairs)
    assert pairs[0][0] == pytest.approx(pairs[0][1], rel=0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_the_users_again_afterwards(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    run(Line(), recipe(steps=1), tmp_path)
    assert signal.getsignal(number) is before


def test_exported_weights_are_the_average_and_the_live_ones_stay(tmp_path: Path) -> None:
    task = Line()
    run(task, recipe(), tmp_path)
    live, out = task.model.state_dict(), exported(tmp_path)
    average = load_file(newest(tmp_path) / "average.safetensors")
    model = load_file(newest(tmp_path) / "model.safetensors")
    for name in live:
        assert torch.equal(out[name], average[name])
        assert torch.equal(live[name], model[name])
    assert not torch.equal(live["first.weight"], out["first.weight"])


def test_evaluation_sees_the_average(tmp_path: Path) -> None:
    run(Line(), recipe(), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    judge = Line()
    judge.model.load_state_dict(exported(tmp_path))
    assert lines[-1]["answer"] == pytest.approx(judge.evaluate()["answer"], rel=1e-6)


def test_the_model_can_be_written_again_from_a_checkpoint(tmp_path: Path) -> None:
    run(Line(), recipe(), tmp_path)
    before = exported(tmp_path)
    (tmp_path / "model" / "weights.pt").unlink()
    export_average(Line(), recipe(), tmp_path)
    for name, tensor in exported(tmp_path).items():
        assert torch.equal(tensor, before[name])


def test_the_log_has_a_line_a_step_and_the_figures(tmp_path: Path) -> None:
    run(Line(), recipe(), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "answer" in line] == [3, 6]
    assert all(line["loss"] > 0 and line["lr"] > 0 for line in lines)


def test_lines_after_the_last_checkpoint_are_written_once(tmp_path: Path) -> None:
    books = {"save_every": 2}
    task = Line()
    task.poison_at = 5  # dies in the sixth step, having logged the fifth and saved the fourth
    with pytest.raises(TrainingError):
        run(task, recipe(books=books), tmp_path)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # as a kill leaves it
    run(Line(), recipe(books=books), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_a_loss_that_is_no_number_ends_with_a_clear_word(tmp_path: Path) -> None:
    task = Line()
    task.poison_at = 3
    with pytest.raises(TrainingError, match="step 3: the loss is nan; lower learning_rate"):
        run(task, recipe(), tmp_path)
    assert newest(tmp_path).name == "step-000003"  # the last good checkpoint is untouched
    assert all(torch.isfinite(p).all() for p in task.model.parameters())


def test_gradients_that_are_no_numbers_never_reach_the_weights(tmp_path: Path) -> None:
    task = Line()
    task.model.last.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainingError, match=r"step 0: the norm of the gradients is (inf|nan)"):
        run(task, recipe(), tmp_path)
    assert torch.equal(task.model.first.weight, Line().model.first.weight)


def test_out_of_memory_says_what_would_fit(tmp_path: Path) -> None:
    task = Line()
    task.starve_at = 2
    with pytest.raises(TrainingError) as caught:
        run(task, recipe(), tmp_path)
    assert str(caught.value) == (
        "step 2: out of memory on cpu with 8 x (3 numbers) at a time; set optimisation.accumulate "
        "= 2, which trains the same batch of 8 in parts of 4, or optimisation.batch_size = 4, also "
        "optimisation.gradient_checkpointing = true"
    )
    assert newest(tmp_path).name == "step-000002"


def test_out_of_memory_with_one_sample_offers_no_smaller_batch(tmp_path: Path) -> None:
    plan = recipe(accumulate=8)
    task = Line(plan)
    task.starve_at = 0
    with pytest.raises(TrainingError, match=r"with 1 x .* at a time; optimisation.gradient_check"):
        run(task, plan, tmp_path)


def test_checkpointing_a_model_that_cannot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="gradient_checkpointing: no part"):
        run(Line(), recipe(gradient_checkpointing=True), tmp_path)


def test_a_batch_that_does_not_divide_is_refused(tmp_path: Path) -> None:
    plan = recipe(accumulate=3)
    with pytest.raises(RecipeError, match=r"batch of 8 .* 1 processes x 3 passes"):
        run(Line(), plan, tmp_path)
    assert checkpoint_folders(tmp_path) == []


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    run(Line(), recipe(), tmp_path)
    again = Line()
    run(again, recipe(), tmp_path)
    assert again.steps == []


def test_the_share_of_peak_is_shown_when_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(Line(), recipe(), tmp_path, measure=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all("of peak" in line and "samples/s" in line and "to go" in line for line in lines)


def test_the_rate_warms_up_holds_and_falls() -> None:
    plan = recipe(steps=100)
    rates = [learning_rate(plan, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.025)
    assert rates[1:30] == pytest.approx([0.05] * 29)
    assert all(a > b for a, b in itertools.pairwise(rates[31:]))
    assert rates[-1] == pytest.approx(0.0005, rel=0.1)
