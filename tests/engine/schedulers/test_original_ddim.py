"""The reference sampler against recorded values of the public implementation."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.models import VideoUNet
from engine.schedulers import VideoScheduler, make_scheduler

RESCALES = {"no_scale": None, "scale_b0.3_fixed": 0.3, "scale_b0.7_unfixed": 0.7}
STEP_COUNTS = (5, 7, 10, 25, 30, 50, 60)


def one() -> Tensor:
    return torch.ones(1, 1, dtype=torch.float64)


@pytest.mark.parametrize("case", RESCALES)
def test_training_schedule_equals_the_reference(golden: Path, case: str) -> None:
    recorded = load_file(golden / "ddim" / f"schedule_{case}.safetensors")
    schedule = make_scheduler("ddim-original", RESCALES[case]).schedule
    assert torch.equal(schedule.alphas_cumprod.float(), recorded["model.alphas_cumprod"])
    if "model.scale_arr" in recorded:
        assert torch.equal(schedule.scale.float(), recorded["model.scale_arr"][:1000])
    else:
        assert torch.equal(schedule.scale, torch.ones(1000, dtype=torch.float64))


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", STEP_COUNTS)
@pytest.mark.parametrize("case", RESCALES)
def test_steps_have_the_recorded_coefficients(
    golden: Path, case: str, steps: int, eta: float
) -> None:
    recorded = load_file(golden / "ddim" / f"schedule_{case}.safetensors")
    scheduler = make_scheduler("ddim-original", RESCALES[case])
    scheduler.set_timesteps(steps)
    values = {
        name: recorded.get(f"S{steps}.eta{eta}.{name}")
        for name in ("timesteps", "alphas", "alphas_prev", "sigmas", "scale", "scale_prev")
    }
    timesteps = values["timesteps"]
    assert timesteps is not None
    assert scheduler.timesteps.tolist() == timesteps.flip(0).tolist()
    for index, t in enumerate(timesteps.tolist()):
        # Three probes isolate the noise, the clean and the direction term of the step.
        sigma = scheduler.step(0 * one(), t, 0 * one(), eta=eta, variance_noise=one()).prev_sample
        from_sample = scheduler.step(0 * one(), t, one()).prev_sample
        alpha, previous = values["alphas"][index].double(), values["alphas_prev"][index]
        ratio = (previous / alpha).sqrt()
        if values["scale"] is not None:
            ratio *= values["scale_prev"][index] / values["scale"][index]
        assert sigma.item() == pytest.approx(values["sigmas"][index].item(), rel=1e-6)
        assert from_sample.item() == pytest.approx(ratio.item(), rel=1e-6)
        towards = scheduler.step(one(), t, (1 - alpha).sqrt() * one()).prev_sample
        assert towards.item() == pytest.approx((1 - previous).sqrt().item(), abs=1e-5)


@pytest.mark.parametrize("case", RESCALES)
def test_add_noise_equals_the_reference(golden: Path, case: str) -> None:
    recorded = load_file(golden / "ddim" / f"q_sample_{case}.safetensors")
    scheduler = make_scheduler("ddim-original", RESCALES[case])
    noisy = scheduler.add_noise(recorded["x_start"], recorded["noise"], recorded["timesteps"])
    torch.testing.assert_close(noisy, recorded["output"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", RESCALES)
def test_the_clean_latent_is_that_of_the_reference(golden: Path, case: str) -> None:
    """The recorded function leaves the rescale out, so it gives the clean latent times that."""
    recorded = load_file(golden / "ddim" / f"q_sample_{case}.safetensors")
    scheduler = make_scheduler("ddim-original", RESCALES[case])
    for index, t in enumerate(recorded["timesteps"].tolist()):
        noise, noisy = recorded["noise"][index], recorded["output"][index]
        original = scheduler.predict_original(noise, t, noisy)
        scaled = original * float(scheduler.schedule.scale[t])
        theirs = recorded["predict_start_from_noise"][index]
        torch.testing.assert_close(scaled, theirs, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(original, recorded["x_start"][index], rtol=1e-3, atol=1e-3)


def test_refuses_exactly_the_step_counts_that_the_original_cannot_run() -> None:
    scheduler = make_scheduler("ddim-original")
    refused = []
    for steps in range(1, 1001):
        try:
            scheduler.set_timesteps(steps)
        except ValueError:
            refused.append(steps)
    assert len(refused) == 599
    assert {3, 9, 27, 36, 37, *range(101, 112), 251, 999, 1000} <= set(refused)


def test_a_refusal_names_counts_that_run() -> None:
    scheduler = make_scheduler("ddim-original")
    with pytest.raises(ValueError, match="nearest that it can: 26, 28"):
        scheduler.set_timesteps(27)
    scheduler.set_timesteps(26)
    scheduler.set_timesteps(28)


@pytest.mark.parametrize("steps", [0, -1, 1001, 2.0, True])
def test_refuses_step_counts_out_of_range(steps: int) -> None:
    with pytest.raises(ValueError, match="num_inference_steps"):
        make_scheduler("ddim-original").set_timesteps(steps)


def guided(
    unet: VideoUNet, recorded: dict[str, Tensor], sample: Tensor, t: int, guidance: float
) -> Tensor:
    """Noise prediction with guidance for the recorded conditions."""

    def forward(context: Tensor) -> Tensor:
        image = context[:, 77:] if context.shape[1] > 77 else None
        timesteps = torch.full((len(sample),), t)
        return unet(
            sample, timesteps, context[:, :77], fps=recorded["fps"], image_hidden_states=image
        ).sample

    conditional = forward(recorded["context"])
    if guidance == 1:
        return conditional
    unconditional = forward(recorded["uncond_context"])
    return unconditional + guidance * (conditional - unconditional)


RUNS = [
    ("t2v", "S5.eta0.0.cfg1.0", 0.3),
    ("t2v", "S10.eta1.0.cfg12.0", 0.3),
    ("t2v", "S7.eta1.0.cfg7.5", 0.3),
    ("t2v", "noscale.S10.eta1.0.cfg7.5", None),
    ("t2v", "scaleb0.7.S10.eta1.0.cfg7.5", 0.7),
    ("i2v", "S5.eta1.0.cfg12.0", 0.7),
    ("i2v", "S10.eta0.0.cfg7.5", 0.7),
]


def load_unet(golden: Path, mode: str) -> VideoUNet:
    ddim = golden / "ddim"
    facts = json.loads((ddim / f"trajectory_{mode}.json").read_text())
    weights = load_file(ddim / facts["weights"])
    state = {name: value.float() for name, value in weights.items()}
    return VideoUNet.from_original(state, facts["unet_config"]).eval()


@torch.no_grad()
def follow(
    scheduler: VideoScheduler, unet: VideoUNet, recorded: dict[str, Tensor], run: str
) -> list[tuple[Tensor, Tensor]]:
    """Latent and predicted clean latent after every step of a recorded run."""
    *_, steps, eta_int, eta_frac, cfg_int, cfg_frac = run.split(".")
    eta = float(f"{eta_int.removeprefix('eta')}.{eta_frac}")
    guidance = float(f"{cfg_int.removeprefix('cfg')}.{cfg_frac}")
    scheduler.set_timesteps(int(steps.removeprefix("S")))
    sample = recorded[f"{steps}.x_T"]
    states = []
    for index, t in enumerate(scheduler.timesteps.tolist()):
        seen = scheduler.scale_model_input(sample, t)
        noise = recorded[f"{steps}.noise"][index]
        prediction = guided(unet, recorded, seen, t, guidance)
        step = scheduler.step(prediction, t, sample, eta=eta, variance_noise=noise)
        sample = step.prev_sample
        states.append((sample, step.pred_original_sample))
    return states


@pytest.mark.parametrize(("mode", "run", "rescale_to"), RUNS)
def test_trajectories_equal_the_reference(
    golden: Path, mode: str, run: str, rescale_to: float | None
) -> None:
    recorded = load_file(golden / "ddim" / f"trajectory_{mode}.safetensors")
    scheduler = make_scheduler("ddim-original", rescale_to)
    states = follow(scheduler, load_unet(golden, mode), recorded, run)
    assert len(states) == len(recorded[f"{run}.x"])
    for (sample, original), x, x0 in zip(
        states, recorded[f"{run}.x"], recorded[f"{run}.pred_x0"], strict=True
    ):
        assert float((sample - x).abs().max() / x.abs().max()) < 2e-4
        assert float((original - x0).abs().max() / x0.abs().max()) < 2e-4


@pytest.mark.parametrize(
    ("mode", "run", "rescale_to"),
    [
        ("t2v", "S10.eta0.0.cfg7.5", 0.3),
        ("t2v", "S5.eta0.0.cfg1.0", 0.3),
        ("i2v", "S10.eta0.0.cfg12.0", 0.7),
    ],
)
def test_ddim_of_diffusers_follows_the_reference_without_noise(
    golden: Path, mode: str, run: str, rescale_to: float
) -> None:
    recorded = load_file(golden / "ddim" / f"trajectory_{mode}.safetensors")
    scheduler = make_scheduler("ddim", rescale_to)
    states = follow(scheduler, load_unet(golden, mode), recorded, run)
    for (sample, original), x, x0 in zip(
        states, recorded[f"{run}.x"], recorded[f"{run}.pred_x0"], strict=True
    ):
        assert float((sample - x).abs().max() / x.abs().max()) < 1e-3
        assert float((original - x0).abs().max() / x0.abs().max()) < 1e-3
