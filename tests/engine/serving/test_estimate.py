"""Estimates: learned from past runs, honest about their error, and never nonsense."""

import math
import random
import threading
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.serving.scheduling.cost_model import MAX_SHAPES, CostModel, Estimate, RequestShape

WORK = RequestShape(model="m", width=512, height=320, num_frames=16, steps=25, device="cpu")


def taught(*runs: tuple[RequestShape, float]) -> CostModel:
    estimator = CostModel()
    estimator.learn(runs)
    return estimator


def test_before_the_first_run_there_is_a_guess_that_says_so() -> None:
    guess = CostModel().predict(WORK)
    assert guess.seconds > 1
    assert guess.error >= 1
    gpu = CostModel().predict(replace(WORK, device="Some GPU"))
    assert gpu.seconds < guess.seconds


def test_one_run_replaces_the_guess() -> None:
    estimate = taught((WORK, 40.0)).predict(WORK)
    assert estimate.seconds == pytest.approx(40.0)
    assert 0 < estimate.error < 1


def test_many_equal_runs_make_it_certain() -> None:
    estimate = taught(*[(WORK, 40.0)] * 30).predict(WORK)
    assert estimate.seconds == pytest.approx(40.0)
    assert estimate.error < 0.01


def test_the_error_is_how_far_off_the_estimates_were() -> None:
    rng = random.Random(3)
    runs = [40.0 * rng.uniform(0.7, 1.3) for _ in range(400)]
    estimator = CostModel()
    off = []
    for seconds in runs:
        off.append(abs(seconds / estimator.predict(WORK).seconds - 1))
        estimator.observe(WORK, seconds)
    # 0.16 in the long run; the learned error looks back over about nine runs.
    assert sum(off[50:]) / len(off[50:]) == pytest.approx(0.16, abs=0.03)
    assert estimator.predict(WORK).error == pytest.approx(0.16, abs=0.08)
    assert estimator.predict(WORK).seconds == pytest.approx(40.0, rel=0.15)


def test_new_runs_count_more_than_old_ones() -> None:
    estimator = taught(*[(WORK, 40.0)] * 50, *[(WORK, 10.0)] * 12)
    assert estimator.predict(WORK).seconds == pytest.approx(10.0, rel=0.25)


def test_another_workload_is_scaled_by_pixels_frames_and_steps() -> None:
    estimator = taught(*[(WORK, 40.0)] * 5)
    assert estimator.predict(replace(WORK, steps=50)).seconds == pytest.approx(80.0)
    assert estimator.predict(replace(WORK, num_frames=8)).seconds == pytest.approx(20.0)
    larger = estimator.predict(replace(WORK, width=1024, height=640))
    assert larger.seconds == pytest.approx(160.0)
    assert larger.error > estimator.predict(WORK).error


def test_the_nearest_of_several_is_scaled() -> None:
    small, large = replace(WORK, width=64, height=64), replace(WORK, width=1024, height=576)
    estimator = taught((small, 1.0), (large, 900.0))
    near_large = replace(large, steps=20)
    assert estimator.predict(near_large).seconds == pytest.approx(900.0 * 20 / 25)
    near_small = replace(small, height=128)
    assert estimator.predict(near_small).seconds == pytest.approx(2.0)


def test_how_well_scaling_works_is_learned() -> None:
    def error_after(spread: float) -> float:
        works = [replace(WORK, steps=steps) for steps in range(1, 41)]
        seconds = [work.size * 1e-6 * (spread if work.steps % 2 else 1) for work in works]
        estimator = taught(*zip(works, seconds, strict=True))
        return estimator.predict(replace(WORK, steps=60)).error

    assert error_after(1.0) <= 0.3  # that of a single run
    assert error_after(3.0) > 0.6


def test_models_and_devices_are_kept_apart() -> None:
    estimator = taught((WORK, 40.0))
    for other in (replace(WORK, model="n"), replace(WORK, device="GPU")):
        assert estimator.predict(other) == CostModel().predict(other)


@pytest.mark.parametrize("seconds", [0.0, -3.0, math.nan, math.inf])
def test_what_no_clock_can_have_measured_is_left_out(seconds: float) -> None:
    estimator = taught((WORK, 40.0), (WORK, seconds))
    assert estimator.predict(WORK) == taught((WORK, 40.0)).predict(WORK)


def test_a_workload_of_nothing_breaks_nothing() -> None:
    nothing = replace(WORK, num_frames=0)
    assert taught((nothing, 1.0)).predict(WORK).seconds > 0
    assert taught((WORK, 1.0), (nothing, 1.0)).predict(nothing).seconds == pytest.approx(1.0)


def test_it_remembers_a_bounded_number_of_workloads() -> None:
    estimator = CostModel()
    first = replace(WORK, steps=1)
    estimator.observe(first, 777.0)
    for steps in range(2, MAX_SHAPES + 1):
        estimator.observe(replace(WORK, steps=steps), float(steps))
    assert estimator.predict(first).seconds == pytest.approx(777.0)
    estimator.observe(replace(WORK, steps=MAX_SHAPES + 1), 1.0)
    assert estimator.predict(first).seconds == pytest.approx(1.0)  # from two steps, which took 2 s


WHOLE = st.integers(0, 10**6)
WORKLOADS = st.builds(
    RequestShape,
    model=st.sampled_from("ab"),
    width=WHOLE,
    height=WHOLE,
    num_frames=WHOLE,
    steps=WHOLE,
    device=st.sampled_from(["cpu", "mps", "GPU", ""]),
)


@settings(max_examples=100, deadline=None)
@given(runs=st.lists(st.tuples(WORKLOADS, st.floats()), max_size=12), asked=WORKLOADS)
def test_an_estimate_is_always_a_duration(
    runs: list[tuple[RequestShape, float]], asked: RequestShape
) -> None:
    estimate = taught(*runs).predict(asked)
    assert 0 < estimate.seconds <= 1e7
    assert 0 <= estimate.error < math.inf


def test_many_threads_may_learn_and_ask() -> None:
    estimator = CostModel()
    answers: list[Estimate] = []

    def work(offset: int) -> None:
        for index in range(200):
            estimator.observe(replace(WORK, steps=1 + (offset + index) % 40), 5.0)
            answers.append(estimator.predict(replace(WORK, steps=1 + index % 60)))

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(answers) == 800
    assert all(estimator.predict(replace(WORK, steps=n)).seconds == 5.0 for n in range(1, 41))
