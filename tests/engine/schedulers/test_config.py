"""What is said of the samplers without a model framework is what they do."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from engine.schedulers import SCHEDULER_NAMES, scheduler_from_config
from engine.schedulers.config import check_sampler, nearest_steps, original_can_run


@pytest.mark.parametrize("total", [50, 100, 999, 1000])
@pytest.mark.parametrize("spacing", [None, "leading", "trailing", "log-snr"])
@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize("name", SCHEDULER_NAMES)
def test_the_most_steps_are_those_that_the_sampler_runs(
    name: str, zero_snr: bool, spacing: str | None, total: int
) -> None:
    config: dict[str, Any] = {
        "num_train_timesteps": total,
        "timestep_spacing": spacing,
        "rescale_betas_zero_snr": zero_snr,
        "prediction_type": "v_prediction" if zero_snr else "epsilon",
    }
    scheduler = scheduler_from_config(name, config)
    most = check_sampler(name, config)
    for steps in {1, 2, 3, 9, 27, 49, 50, 51, total - 2, total - 1, total, total + 1}:
        runs = steps <= most and (name != "ddim-original" or original_can_run(steps, total))
        try:
            scheduler.set_timesteps(steps)
        except ValueError:
            assert not runs, steps
        else:
            assert runs, steps


def test_the_nearest_steps_are_some_that_can_be_run() -> None:
    assert nearest_steps("dpm++2m", 3, 1000) == 3
    assert nearest_steps("ddim-original", 3, 1000) == 4
    assert nearest_steps("ddim-original", 50, 1000) == 50


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"num_train_timesteps": 10**9}, "num_train_timesteps"),
        ({"num_train_timesteps": True}, "num_train_timesteps"),
        ({"beta_end": "0.01"}, "beta_end"),
        ({"beta_start": 0.5, "beta_end": 0.1}, "beta_start"),
        ({"trained_betas": ["a"]}, "trained_betas"),
        ({"rescale_to": 2}, "rescale_to"),
        ({"rescale_steps": 1.5}, "rescale_steps"),
        ({"timestep_spacing": "even"}, "timestep_spacing"),
        ({"prediction_type": "sample"}, "prediction_type"),
        ({"num_train_timesteps": 10}, "too few for lcm"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_by_name(changes: dict[str, Any], text: str) -> None:
    name = "lcm" if "lcm" in text else "ddim"
    with pytest.raises(ValueError, match=text):
        check_sampler(name, changes)


def test_the_limits_are_known_without_a_model_framework() -> None:
    script = "import sys, engine.schedulers.config; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
