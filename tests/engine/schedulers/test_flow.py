"""Networks of flow matching, sampled by the same solvers."""

from typing import Any

import pytest
import torch
from torch import Tensor

from engine.schedulers import SCHEDULER_NAMES, make_scheduler
from engine.schedulers.config import check_sampler

SHAPE = (2, 4, 3, 4, 6)
FLOW: dict[str, Any] = {"prediction_type": "flow_prediction"}
NOT_FOR_FLOW = {"ddim-original", "lcm"}


def noise(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def sigma(t: int, shift: float = 1.0) -> float:
    share = (t + 1) / 1000
    return shift * share / (1 + (shift - 1) * share)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("name", sorted(set(SCHEDULER_NAMES) - NOT_FOR_FLOW))
def test_a_perfect_network_leads_to_its_clean_latent(name: str, shift: float) -> None:
    scheduler = make_scheduler(name, flow_shift=shift, **FLOW)
    scheduler.set_timesteps(20)
    x, clean = noise(1), noise(0)
    for t in scheduler.timesteps.tolist():
        velocity = (x - clean) / sigma(t, shift)  # eps - x0 on the straight line
        step = scheduler.step(velocity, t, x)
        torch.testing.assert_close(step.pred_original_sample, clean, rtol=1e-3, atol=2e-3)
        x = step.prev_sample
    torch.testing.assert_close(x, clean, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_noise_is_added_along_a_straight_line(shift: float) -> None:
    scheduler = make_scheduler("ddim", flow_shift=shift, **FLOW)
    for t in (0, 10, 500, 999):
        s = sigma(t, shift)
        expected = (1 - s) * noise(0) + s * noise(1)
        added = scheduler.add_noise(noise(0), noise(1), t)
        torch.testing.assert_close(added, expected, rtol=1e-5, atol=1e-5)
        assert torch.equal(scheduler.get_velocity(noise(0), noise(1), t), noise(1) - noise(0))


def test_ddim_takes_the_steps_of_euler_along_the_flow() -> None:
    scheduler = make_scheduler("ddim", **FLOW)
    scheduler.set_timesteps(7)
    timesteps = scheduler.timesteps.tolist()
    assert timesteps[0] == 999
    x = y = noise(1)
    for t, following in zip(timesteps, [*timesteps[1:], -1], strict=True):
        x = scheduler.step(torch.sin(3 * x), t, x).prev_sample
        y = y + (sigma(following) - sigma(t)) * torch.sin(3 * y)
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", sorted(NOT_FOR_FLOW))
def test_a_sampler_that_cannot_sample_it_says_what_it_takes(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} takes epsilon or v_prediction, got 'flow_pre"):
        make_scheduler(name, **FLOW)
    with pytest.raises(ValueError, match=f"{name} takes epsilon or v_prediction"):
        check_sampler(name, FLOW)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"flow_shift": 0.0}, "flow_shift: above 0"),
        ({"rescale_to": 0.3}, "'flow_prediction' has a process of its own"),
        ({"rescale_betas_zero_snr": True}, "'flow_prediction' has a process of its own"),
    ],
)
def test_what_does_not_belong_to_a_flow_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make_scheduler("ddim", **FLOW, **options)
    with pytest.raises(ValueError, match=text):
        check_sampler("ddim", FLOW | options)


def test_a_folder_may_state_it() -> None:
    assert check_sampler("dpm++2m", FLOW | {"flow_shift": 3.0}) == 1000
    with pytest.raises(ValueError, match="flow_shift: a number"):
        check_sampler("dpm++2m", FLOW | {"flow_shift": "3"})
