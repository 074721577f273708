"""Intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.evaluation.intervals import Distribution, Proportion


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (0, 0, 0.0, 1.0)],
)
def test_wilson_intervals(hits, total, low, high):
    # Published values: Newcombe (1998), table I, for 81 of 263.
    assert Proportion(hits, total).interval == pytest.approx((low, high), abs=1e-4)


def test_votes_that_are_none_are_no_trials():
    assert Proportion.of([True, None, False, True]) == Proportion(2, 3)
    assert Proportion.of([]).share is None
    assert str(Proportion.of([None])) == "0/0 = no trials"


def test_a_spread_of_known_values():
    spread = Distribution.of([*range(1, 102), None])
    assert (spread.count, spread.mean, spread.median) == (101, 51, 51)
    assert spread.quartiles == (26, 76)
    # Ranks n/2 -+ 0.98 sqrt(n), the textbook's: 40 and 62.
    assert spread.median_interval == (40, 62)
    half = 1.959964 * np.std(range(1, 102), ddof=1) / math.sqrt(101)
    assert spread.mean_interval == pytest.approx((51 - half, 51 + half))


def test_a_median_interval_covers_the_median_of_what_it_was_drawn_from():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        low, high = Distribution.of(rng.exponential(1.0, 40).tolist()).median_interval
        hits += low <= math.log(2) <= high
    assert 0.92 <= hits / 300 <= 1


def test_few_values():
    assert Distribution.of([None]) is None
    one = Distribution.of([3.0])
    assert one.mean_interval == one.median_interval == one.quartiles == (3, 3)
    low, high = Distribution.of([1.0, 2.0]).median_interval
    assert (low, high) == (1, 2)


def test_scaling_changes_the_unit_of_everything_but_the_count():
    spread = Distribution.of([1.0, 2.0, 4.0])
    assert spread.scaled(128) == Distribution.of([128.0, 256.0, 512.0])  # exact in binary
