"""Plans: counted without computing, and right about what is counted."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.models import VideoUNet
from training.cli import main
from training.planning.hardware import ACCELERATORS, measure_peak
from training.planning.plan import TrainingPlan, make_plan
from training.planning.workload import TrainingWorkload, measure_workload
from training.recipe.model import Optimisation, Recipe, RecipeError, load_recipe

H100 = ACCELERATORS["h100"]


def pictures(**plan: object) -> Recipe:
    """A small UNet's picture stage, which needs no earlier run on disk."""
    raw = {
        "name": "pictures",
        "stage": {
            "kind": "text-to-video",
            "vae": "runs/demo-vae/model",
            "towers": "nowhere/demo-towers/model",  # not run: the shipped recipe's
            "image_share": 0.25,
            "image_batch": 8,
            "frames": 4,
            "model_channels": 32,
            "num_head_channels": 8,
            "text_lr_scale": 0,
        },
        "optimisation": {"steps": 100, "batch_size": 4, "learning_rate": 1e-3, **plan},
    }
    return Recipe.model_validate(raw)


@cache
def work_of(precision: str = "fp32", saving: bool = False) -> TrainingWorkload:
    return measure_workload(pictures(precision=precision, gradient_checkpointing=saving))


DEMO = ["demo-vae", "demo-towers", "demo-text", "demo-t2v", "demo-i2v-map", "demo-i2v"]


@pytest.mark.parametrize("name", DEMO)
def test_every_demo_recipe_can_be_planned_before_anything_ran(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # no runs/ here
    plan = make_plan(load_recipe(name), H100)
    assert plan.hours > 0
    assert plan.fits
    assert 0 < plan.trained <= plan.parameters


def test_the_papers_last_stage_is_what_is_known_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("t2v-1024")
    plan = make_plan(recipe, ACCELERATORS["a100"], 8)
    # 45,000 iterations of 64 clips in the paper, some of them of pictures here; a UNet of 1.1
    # to 1.2 billion parameters at a latent of 72 x 128.
    steps = plan.samples["clip"] / 64 + plan.samples["picture"] / (64 * 16)
    assert round(steps) == plan.steps == 45_000
    assert 1.1e9 < plan.trained < 1.2e9
    assert 12 < plan.flops_per_sample["clip"] / plan.flops_per_sample["picture"] < 25
    assert plan.flops_per_sample["clip"] > 150e12
    assert plan.fits


def test_operations_are_those_of_the_model_itself() -> None:
    work = work_of()
    clip, picture = work.kinds
    unet = VideoUNet(
        model_channels=32,
        channel_mult=(1, 2),
        num_res_blocks=1,
        attention_resolutions=(1, 2),
        num_head_channels=8,
        context_dim=128,
    )
    unet.use_attention("math")  # the counter has no entry for the processor's fused kernel
    with FlopCounterMode(display=False) as counter:
        inputs = torch.zeros(1, 4, 4, 8, 8), torch.zeros(1), torch.zeros(1, 77, 128)
        unet(*inputs).sample.mean().backward()
    # Fused attention computes its scores again in the backward pass, which math does not.
    assert clip.flops == pytest.approx(counter.get_total_flops(), rel=0.05)
    assert clip.name == "clip"
    assert picture.flops < clip.flops / 3
    assert work.trained == sum(p.numel() for p in unet.parameters())


def test_samples_time_and_memory_follow_from_the_recipe() -> None:
    plan = make_plan(pictures(), H100, work=work_of())
    assert plan.samples == {"clip": 75 * 4, "picture": 25 * 8}
    assert plan.flops == sum(plan.samples[k] * f for k, f in plan.flops_per_sample.items())
    assert plan.hours == pytest.approx(plan.flops / (67e12 * 0.4) / 3600)
    assert plan.memory.optimizer == pytest.approx(8 * plan.trained / 1e9)
    assert plan.memory.total == pytest.approx(
        (4 * plan.parameters + 16 * plan.trained) / 1e9 + plan.memory.activations
    )


def test_two_devices_take_half_the_time_and_half_the_activations() -> None:
    one, two = (
        make_plan(pictures(), H100, work=work_of()),
        make_plan(pictures(), H100, 2, work=work_of()),
    )
    assert two.hours == pytest.approx(one.hours / 2)
    assert two.device_hours == pytest.approx(one.device_hours)
    assert two.memory.activations == pytest.approx(one.memory.activations / 2)


def test_bfloat16_and_checkpointing_trade_as_they_should() -> None:
    plain = make_plan(pictures(), H100, work=work_of())
    half = make_plan(pictures(precision="bf16"), H100, work=work_of("bf16"))
    saving = make_plan(pictures(), H100, work=work_of(saving=True))
    assert half.hours == pytest.approx(plain.hours * 67 / 989)
    assert half.memory.activations < 0.6 * plain.memory.activations
    assert 1.15 < saving.flops / plain.flops < 1.4
    assert saving.memory.activations < 0.6 * plain.memory.activations


def test_a_recipe_too_large_is_told_which_key_helps() -> None:
    whole = make_plan(pictures(), H100, work=work_of())
    small = replace(H100, memory=(whole.memory.total - whole.memory.activations / 4) / 0.92)
    plan = make_plan(pictures(), small, work=work_of())
    assert not plan.fits
    assert plan.accumulate == 2
    assert "set optimisation.accumulate = 2" in plan.text()
    fits = make_plan(pictures(accumulate=2), small, work=work_of())
    assert fits.fits
    tiny = replace(H100, memory=0.001)
    assert "FSDP" in make_plan(pictures(), tiny, work=work_of()).text()


def test_the_command_prints_for_people_and_for_programs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", "demo-vae", "--gpu", "a100", "--gpus", "4"]) == 0
    text = capsys.readouterr().out
    assert "2,000 steps, 64,000 pictures" in text
    assert "4 x NVIDIA A100" in text
    assert main(["plan", "demo-vae", "--gpu", "a100", "--gpus", "4", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["steps"] == 2000
    assert facts["devices"] == 4
    assert facts["fits"] is True
    assert set(TrainingPlan.__dataclass_fields__) <= set(facts)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["demo-vae", "--gpu", "h100", "--gpus", "5"], "batch of 32 does not divide by 5"),
        (["demo-vae", "--gpus", "2"], "--gpu"),
        (["nonesuch"], "no recipe 'nonesuch'"),
    ],
)
def test_wrong_plans_are_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_an_unknown_stage_before_is_named() -> None:
    plan = pictures()
    stage = plan.stage.model_copy(update={"start": Path("elsewhere/mine/model")})
    with pytest.raises(RecipeError, match="elsewhere/mine/model does not exist"):
        measure_workload(plan.model_copy(update={"stage": stage}))


def test_this_machine_can_be_measured_without_touching_its_randomness() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert measure_peak(torch.device("cpu"), "fp32", seconds=0.01) > 1e8
    assert torch.equal(torch.get_rng_state(), before)


def test_data_sheets_are_plausible() -> None:
    assert Optimisation.model_fields["precision"].default == "fp32"
    for device in ACCELERATORS.values():
        assert device.fp32 < device.bf16 < 25 * device.fp32
        assert 8 < device.memory < 300
