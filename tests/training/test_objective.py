"""The training objective: the recorded loss and gradients, and the laws of its parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from engine.checkpoints.original.config import Rescale
from engine.models import VideoUNet
from engine.models.original_names import UNET_PREFIX, unet_original_names
from engine.schedulers import VideoScheduler, make_scheduler
from training.recipe.model import Recipe
from training.recipe.sections import ScheduleConfig
from training.stages.batches import VideoBatch
from training.stages.diffusion import denoising_loss, make_stage_scheduler
from training.stages.objective import (
    Objective,
    denoising_objective,
    denoising_target,
    loss_per_sample,
    min_snr_weights,
    signal_to_noise,
)

SHAPE = (3, 4, 2, 4, 6)
T = torch.tensor([0, 333, 998])


def noise(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def processes() -> dict[str, VideoScheduler]:
    velocity: dict[str, Any] = {"prediction_type": "v_prediction"}
    return {
        "noise": make_scheduler("ddim"),
        "noise, rescaled": make_scheduler("ddim", 0.3),
        "velocity": make_scheduler("ddim", **velocity),
        "velocity, rescaled": make_scheduler("ddim", 0.7, **velocity),
        "demo": make_stage_scheduler(ScheduleConfig()),
    }


class Recorded:
    """One recorded evaluation, repeated through the engine's network and schedule."""

    def __init__(self, golden: Path, case: str) -> None:
        folder = golden / "train_loss"
        self.facts = json.loads((folder / f"{case}.json").read_text())
        self.tensors = load_file(folder / f"{case}.safetensors")
        weights = load_file(folder / self.facts["weights"])
        self.unet = VideoUNet.from_original(
            {name: value.float() for name, value in weights.items()}, self.facts["unet_config"]
        ).eval()
        self.unet.requires_grad_(True)
        self.scheduler = make_scheduler("ddim-original", Rescale(**self.facts["rescale"]).target)

    def evaluate(self) -> Objective:
        recorded = self.tensors
        return denoising_objective(
            lambda noisy, timesteps: (
                self.unet(noisy, timesteps, recorded["context"], fps=recorded["fps"]).sample
            ),
            self.scheduler,
            recorded["x_start"],
            recorded["noise"],
            recorded["timesteps"],
        )

    def gradients(self) -> dict[str, Tensor]:
        """By released name. A tensor stored as a 1x1 convolution has its gradient in our shape."""
        names = unet_original_names(self.unet)
        return {
            UNET_PREFIX + names[name]: parameter.grad
            for name, parameter in self.unet.named_parameters()
            if parameter.grad is not None
        }


@pytest.fixture(params=["t2v", "t2v_v2"])
def recorded(golden: Path, request: pytest.FixtureRequest) -> Recorded:
    return Recorded(golden, request.param)


@pytest.mark.recorded("train_loss/{recorded}.safetensors")
def test_the_recorded_loss(recorded: Recorded) -> None:
    objective = recorded.evaluate()
    tolerance = recorded.facts["tolerance"]["loss_rel"]
    expected = recorded.tensors
    assert objective.loss.item() == pytest.approx(recorded.facts["loss"], rel=tolerance)
    assert objective.loss.item() == pytest.approx(expected["loss"].item(), rel=tolerance)
    torch.testing.assert_close(objective.noisy, expected["x_noisy"], rtol=0, atol=1e-6)
    torch.testing.assert_close(
        objective.per_sample, expected["loss_per_sample"], rtol=tolerance, atol=0
    )
    torch.testing.assert_close(objective.prediction, expected["model_output"], rtol=0, atol=5e-5)


@pytest.mark.recorded("train_loss/{recorded}.safetensors")
def test_the_recorded_gradients(recorded: Recorded) -> None:
    recorded.evaluate().loss.backward()
    gradients = recorded.gradients()
    tolerance = recorded.facts["tolerance"]["grad_rel"]
    in_full = {
        name.removeprefix("grad."): value
        for name, value in recorded.tensors.items()
        if name.startswith("grad.")
    }
    assert in_full
    for name, expected in in_full.items():
        ours = gradients[name].reshape(expected.shape)
        assert float((ours - expected).norm() / expected.norm()) <= tolerance, name
        assert float((ours - expected).abs().max() / expected.abs().max()) <= tolerance, name

    norms = recorded.facts["grad_norm"]
    assert gradients.keys() == norms.keys()
    total = sum(norm**2 for norm in norms.values()) ** 0.5
    assert total == pytest.approx(recorded.facts["total_grad_norm"], rel=1e-6)
    for name, norm in norms.items():
        # A bias before a norm over single channels has no gradient but what rounding leaves.
        floor = 1e-7 * total
        assert gradients[name].norm().item() == pytest.approx(norm, rel=tolerance, abs=floor), name


@pytest.mark.parametrize("process", processes())
def test_a_network_that_says_the_target_has_no_loss_and_knows_the_clean_latent(
    process: str,
) -> None:
    scheduler = processes()[process]
    clean, unit = noise(0), noise(1)
    target = denoising_target(scheduler, clean, unit, T)
    objective = denoising_objective(lambda *_: target, scheduler, clean, unit, T)
    assert objective.loss == 0
    assert not objective.per_sample.any()
    for index, t in enumerate(T.tolist()):
        implied = scheduler.predict_original(target[index], t, objective.noisy[index])
        torch.testing.assert_close(implied, clean[index], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("process", ["velocity", "velocity, rescaled", "demo"])
def test_the_velocity_is_the_tangent_of_the_path(process: str) -> None:
    """With the angle ``phi`` of ``x' = cos(phi) x_0 + sin(phi) eps``, it is ``dx' / dphi``."""
    scheduler = processes()[process]
    clean, unit = noise(2), noise(3)
    velocity = denoising_target(scheduler, clean, unit, T)
    phi = scheduler.schedule.alphas_cumprod_vp[T].sqrt().acos().view(-1, 1, 1, 1, 1)
    little = 1e-6
    x = [phi_.cos() * clean + phi_.sin() * unit for phi_ in (phi - little, phi + little)]
    torch.testing.assert_close(
        velocity.double(), (x[1] - x[0]) / (2 * little), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("process", ["noise", "noise, rescaled", "velocity", "velocity, rescaled"])
@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_caps_the_weight_of_the_clean_latents_error(process: str, gamma: float) -> None:
    """Whatever is predicted, the loss is ``min(SNR, gamma)`` times the clean latent's error."""
    scheduler = processes()[process]
    timesteps = torch.tensor([20, 300, 700])
    clean, unit = noise(4), noise(5)
    said = denoising_target(scheduler, clean, unit, timesteps) + 0.1 * noise(6)
    objective = denoising_objective(
        lambda *_: said, scheduler, clean, unit, timesteps, min_snr_gamma=gamma
    )
    ratio = signal_to_noise(scheduler, timesteps)
    assert float(ratio[0]) > gamma > float(ratio[2])
    expected = [
        min(float(ratio[index]), gamma)
        * (scheduler.predict_original(said[index], t, objective.noisy[index]) - clean[index])
        .square()
        .mean()
        for index, t in enumerate(timesteps.tolist())
    ]
    assert objective.loss.item() == pytest.approx(float(sum(expected)) / 3, rel=1e-3)
    assert objective.per_sample.mean().item() != pytest.approx(objective.loss.item(), rel=1e-2)


@settings(max_examples=30, deadline=None)
@given(
    timesteps=st.lists(st.integers(0, 998), min_size=1, max_size=5),
    gamma=st.floats(0.1, 100),
    process=st.sampled_from(sorted(processes())),
)
def test_min_snr_weights_are_a_share_that_grows_with_gamma(
    timesteps: list[int], gamma: float, process: str
) -> None:
    scheduler, picked = processes()[process], torch.tensor(timesteps)
    weights = min_snr_weights(scheduler, picked, gamma)
    assert weights.shape == (len(timesteps),)
    assert bool(((weights > 0) & (weights <= 1)).all())
    assert bool((min_snr_weights(scheduler, picked, 2 * gamma) >= weights).all())
    if scheduler.prediction_type == "epsilon":
        low = signal_to_noise(scheduler, picked) <= gamma
        assert torch.equal(weights[low], torch.ones(int(low.sum()), dtype=torch.float64))


def test_pure_noise_weighs_nothing() -> None:
    last = torch.tensor([999])
    assert signal_to_noise(make_stage_scheduler(ScheduleConfig()), last) == 0
    assert min_snr_weights(make_stage_scheduler(ScheduleConfig()), last, 5.0) == 0


@pytest.mark.parametrize("gamma", [0.0, -1.0, float("nan"), float("inf")])
def test_gamma_out_of_range_is_named(gamma: float) -> None:
    with pytest.raises(ValueError, match="min_snr_gamma: a finite number above 0"):
        min_snr_weights(make_stage_scheduler(ScheduleConfig()), T, gamma)


def test_recipes_leave_the_weights_off() -> None:
    stage = {"kind": "text-to-video", "vae": "a", "towers": "b"}
    raw = {"name": "x", "optimisation": {"steps": 1, "batch_size": 1, "learning_rate": 0.1}}
    assert Recipe.model_validate(raw | {"stage": stage}).stage.min_snr_gamma is None
    capped = Recipe.model_validate(raw | {"stage": stage | {"min_snr_gamma": 5}})
    assert capped.stage.min_snr_gamma == 5
    with pytest.raises(ValueError, match="min_snr_gamma"):
        Recipe.model_validate(raw | {"stage": stage | {"min_snr_gamma": 0}})


def test_the_stages_loss_is_the_mean_square_of_the_velocity_to_the_bit() -> None:
    torch.manual_seed(0)
    unet = VideoUNet(
        model_channels=32,
        channel_mult=(1,),
        num_res_blocks=1,
        attention_resolutions=(1,),
        num_head_channels=8,
        context_dim=8,
        temporal_length=4,
    ).eval()
    torch.nn.init.normal_(unet.get_parameter("conv_out.weight"), std=0.1)
    fps, text = torch.tensor([8.0, 16.0, 24.0]), torch.randn(3, 77, 8)
    batch = VideoBatch(noise(7), ("", "", ""), fps)
    scheduler, unit = make_stage_scheduler(ScheduleConfig()), noise(8)
    loss = denoising_loss(unet, scheduler, batch, T, unit, text)
    predicted = unet(scheduler.add_noise(batch.latents, unit, T), T, text, fps=fps).sample
    target = scheduler.get_velocity(batch.latents, unit, T)
    assert torch.equal(loss, F.mse_loss(predicted, target))
    weighted = denoising_loss(unet, scheduler, batch, T, unit, text, min_snr_gamma=5.0)
    expected = (min_snr_weights(scheduler, T, 5.0) * loss_per_sample(predicted, target)).mean()
    assert weighted.item() == pytest.approx(expected.item(), rel=1e-5)
