"""Worked example of docs/extending.md: one row adds a solver, here one of two calls a step."""

from typing import Any, cast

import pytest
import torch
from diffusers import HeunDiscreteScheduler
from torch import Tensor

from engine.pipelines import TextToVideoPipeline
from engine.pipelines.sampling import denoise
from engine.schedulers import make_scheduler
from engine.schedulers.config import check_sampler
from engine.schedulers.solver_table import SOLVERS, Solver
from tests.engine.conftest import tiny_components

# [example]
HEUN = Solver(
    diffusers_class="HeunDiscreteScheduler",
    space="sigma",  # the class steps clean latents plus noise of standard deviation sigma
    spacing="trailing",  # unless the model folder or the caller says otherwise
    calls_per_step=2,  # calls of the network for a step
)
# [/example]

SHAPE = (1, 4, 3, 4, 6)


@pytest.fixture(autouse=True)
def _with_heun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the row, as a line `"heun": HEUN,` in `SOLVERS` would."""
    monkeypatch.setitem(cast(dict[str, Solver], SOLVERS), "heun", HEUN)


def noise(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


class Network:
    """A stand-in for the network that is smooth and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, latents: Tensor, timestep: int) -> Tensor:
        self.calls += 1
        return torch.sin(3 * latents)


def run(name: str, steps: int, network: Network, **options: Any) -> Tensor:
    scheduler = make_scheduler(name, **options)
    scheduler.set_timesteps(steps)
    return denoise(
        network,
        scheduler,
        noise(1),
        eta=0.0,
        generator=None,
        variance_noise=None,
        on_step=lambda index, timestep, step: step.prev_sample,
    )


def test_it_is_the_solver_of_diffusers() -> None:
    theirs = HeunDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="trailing",
    )
    theirs.set_timesteps(10)
    x = noise(1) * float((theirs.sigmas[0] ** 2 + 1).sqrt())
    for t in theirs.timesteps:
        x = theirs.step(torch.sin(3 * theirs.scale_model_input(x, t)), t, x).prev_sample
    torch.testing.assert_close(run("heun", 10, Network()), x, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "log-snr"])
def test_it_calls_the_network_twice_for_a_step_but_for_the_last(spacing: str) -> None:
    network = Network()
    assert torch.isfinite(run("heun", 10, network, timestep_spacing=spacing)).all()
    assert network.calls == 19


def test_it_runs_counts_that_diffusers_rounds_wrongly() -> None:
    network = Network()
    run("heun", 61, network)
    assert network.calls == 121


@pytest.mark.parametrize(
    "options", [{"rescale_to": 0.3}, {"prediction_type": "flow_prediction", "flow_shift": 3.0}]
)
def test_models_with_rescale_and_of_flow_matching_are_served(options: dict[str, Any]) -> None:
    clean = noise(2)
    scheduler = make_scheduler("heun", **options)

    def perfect(x: Tensor, t: int) -> Tensor:
        alpha = float(scheduler.schedule.alphas_cumprod[t])
        scale = float(scheduler.schedule.scale[t])
        eps = (x - alpha**0.5 * scale * clean) / (1 - alpha) ** 0.5
        return eps if "rescale_to" in options else eps - clean

    scheduler.set_timesteps(8)
    x = noise(3)
    for t in scheduler.timesteps.tolist():
        x = scheduler.step(perfect(x, t), t, x, predict=perfect).prev_sample
    torch.testing.assert_close(x, clean, rtol=1e-3, atol=2e-3)


def test_a_step_without_the_network_says_what_is_missing() -> None:
    scheduler = make_scheduler("heun")
    scheduler.set_timesteps(4)
    with pytest.raises(ValueError, match="predict: heun calls the network 2 times"):
        scheduler.step(noise(0), int(scheduler.timesteps[0]), noise(1))


def test_model_folders_and_pipelines_take_the_name() -> None:
    assert check_sampler("heun", {}) == 1000
    parts = tiny_components(with_image=False) | {"scheduler": make_scheduler("heun")}
    pipe = TextToVideoPipeline(**parts)
    pipe.set_progress_bar_config(disable=True)
    frames = pipe(
        "a cat", height=32, width=32, num_frames=2, num_inference_steps=3, output_type="latent"
    ).frames
    assert torch.isfinite(frames).all()
