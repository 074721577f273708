"""A scheduler carries one run; what it is asked out of turn is refused with what to do."""

import pytest
import torch
from torch import Tensor

from engine.schedulers import SCHEDULER_NAMES, VideoScheduler, make_scheduler

COUNTING = ["dpm++2m", "dpm++sde", "unipc", "euler", "lcm"]
SHAPE = (1, 4, 2, 4, 4)


def run(scheduler: VideoScheduler, timesteps: Tensor) -> Tensor:
    x = torch.ones(SHAPE)
    draw = torch.Generator().manual_seed(1)
    for t in timesteps.tolist():
        source = draw if scheduler.is_stochastic(0.0) else None
        x = scheduler.step(0.1 * x, t, x, generator=source).prev_sample
    return x


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
@pytest.mark.parametrize("name", COUNTING)
def test_a_second_run_needs_set_timesteps(name: str, steps: int) -> None:
    scheduler = make_scheduler(name)
    scheduler.set_timesteps(steps)
    first = run(scheduler, scheduler.timesteps)
    for timesteps in (scheduler.timesteps, scheduler.timesteps[-1:]):
        with pytest.raises(ValueError, match=r"timestep: this run is over.*call set_timesteps"):
            run(scheduler, timesteps)
    scheduler.set_timesteps(steps)
    assert torch.equal(run(scheduler, scheduler.timesteps), first)


@pytest.mark.parametrize("order", [[0, 0], [0, 2], [2, 1], [0, 1, 0]])
@pytest.mark.parametrize("name", COUNTING)
def test_steps_out_of_turn_are_refused(name: str, order: list[int]) -> None:
    scheduler = make_scheduler(name)
    scheduler.set_timesteps(5)
    with pytest.raises(ValueError, match=r"timestep: \d+ comes next with .*, got \d+"):
        run(scheduler, scheduler.timesteps[order])


@pytest.mark.parametrize("name", COUNTING)
def test_a_run_may_begin_in_the_middle(name: str) -> None:
    scheduler = make_scheduler(name)
    scheduler.set_timesteps(5)
    assert run(scheduler, scheduler.timesteps[2:]).isfinite().all()


@pytest.mark.parametrize("name", sorted(set(SCHEDULER_NAMES) - set(COUNTING)))
def test_steps_that_know_nothing_of_others_come_in_any_order(name: str) -> None:
    scheduler = make_scheduler(name)
    scheduler.set_timesteps(5)
    first = run(scheduler, scheduler.timesteps)
    assert torch.equal(run(scheduler, scheduler.timesteps), first)
