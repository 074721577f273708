"""Every recorded sampling run, step by step, through the loop that the pipelines run."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.checkpoints.original.config import Rescale
from engine.models import VideoUNet
from engine.pipelines.sampling import Condition, Guidance, denoise, guided_prediction
from engine.schedulers import SchedulerStep, VideoScheduler, make_scheduler

USUAL = [
    f"S{steps}.eta{eta}.cfg{guidance}"
    for steps in (5, 10)
    for eta in ("0.0", "1.0")
    for guidance in ("1.0", "7.5", "12.0")
]
RUNS = {
    "t2v": [
        *USUAL,
        "S7.eta1.0.cfg7.5",
        "noscale.S10.eta1.0.cfg7.5",
        "scaleb0.7.S10.eta1.0.cfg7.5",
    ],
    "i2v": USUAL,
}
OTHER_RESCALES = {"noscale": None, "scaleb0.7": 0.7}


@dataclass(frozen=True)
class Recorded:
    """The network of some runs, and their facts and tensors."""

    unet: VideoUNet
    facts: dict[str, Any]
    tensors: dict[str, Tensor]

    def condition(self, name: str) -> Condition:
        context = self.tensors[name]
        return Condition(context[:, :77], context[:, 77:] if context.shape[1] > 77 else None)

    def scheduler(self, run: str) -> VideoScheduler:
        prefix = run.partition(".S")[0]
        rescale_to = Rescale(**self.facts["rescale"]).target
        return make_scheduler("ddim-original", OTHER_RESCALES.get(prefix, rescale_to))


@pytest.fixture(scope="module", params=RUNS)
def recorded(golden: Path, request: pytest.FixtureRequest) -> Recorded:
    folder = golden / "ddim"
    facts = json.loads((folder / f"trajectory_{request.param}.json").read_text())
    weights = load_file(folder / facts["weights"])
    state = {name: value.float() for name, value in weights.items()}
    unet = VideoUNet.from_original(state, facts["unet_config"]).eval()
    assert sorted(facts["runs"]) == sorted(RUNS[request.param])
    tensors = load_file(folder / f"trajectory_{request.param}.safetensors")
    return Recorded(unet, facts, tensors)


@torch.no_grad()
def states_of(recorded: Recorded, run: str) -> list[SchedulerStep]:
    """What every step of a run makes."""
    *_, steps, eta_int, eta_frac, cfg_int, cfg_frac = run.split(".")
    eta = float(f"{eta_int.removeprefix('eta')}.{eta_frac}")
    scale = float(f"{cfg_int.removeprefix('cfg')}.{cfg_frac}")
    scheduler = recorded.scheduler(run)
    scheduler.set_timesteps(int(steps.removeprefix("S")))
    assert scheduler.timesteps.tolist() == recorded.facts["runs"][run]["timesteps"]
    guidance = Guidance(scale, recorded.condition("context"), recorded.condition("uncond_context"))
    states: list[SchedulerStep] = []

    def on_step(_: int, __: int, step: SchedulerStep) -> Tensor:
        states.append(step)
        return step.prev_sample

    denoise(
        guided_prediction(recorded.unet, guidance, recorded.tensors["fps"]),
        scheduler,
        recorded.tensors[f"{steps}.x_T"],
        eta=eta,
        generator=None,
        variance_noise=recorded.tensors[f"{steps}.noise"],
        on_step=on_step,
    )
    return states


def error(ours: Tensor, theirs: Tensor) -> float:
    """Relative to the largest value, as the recorded tolerance is."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


def test_every_recorded_run(recorded: Recorded) -> None:
    tolerance = recorded.facts["tolerance"]["rel_to_max"]
    # The repository has a part of them (tests/golden/README.md).
    runs = [run for run in recorded.facts["runs"] if f"{run}.x" in recorded.tensors]
    assert len(runs) >= 3
    for run in runs:
        latents, originals = recorded.tensors[f"{run}.x"], recorded.tensors[f"{run}.pred_x0"]
        states = states_of(recorded, run)
        assert len(states) == len(latents) == len(originals)
        for index, state in enumerate(states):
            where = f"{run}, step {index}"
            assert error(state.prev_sample, latents[index]) <= tolerance, where
            assert error(state.pred_original_sample, originals[index]) <= tolerance, where
