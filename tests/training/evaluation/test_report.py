"""Rates, intervals, JSON and contact sheets."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from training.data.world import render, sample_scene
from training.evaluation import ClipRecord, Prompt, Rate, Report, contact_sheet, evaluate_judge
from training.judge import judge


@pytest.fixture(scope="module")
def report():
    """Seven clips: six good ones and one empty."""
    good = evaluate_judge(6, seed=2)
    empty = np.full((16, 3, 64, 64), 128, np.uint8)
    clip = ClipRecord(Prompt("nothing", colour="red", motion="left"), 9, judge(empty))
    return replace(
        good, clips=(*good.clips, clip), frames=np.concatenate([good.frames, empty[None]])
    )


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (0, 0, 0.0, 1.0)],
)
def test_wilson_intervals(hits, total, low, high):
    # Published values: Newcombe (1998), table I, for 81 of 263.
    assert Rate(hits, total).interval == pytest.approx((low, high), abs=1e-4)


def test_rates_count_only_what_is_demanded(report):
    rates = report.rates
    assert (rates["colour"].hits, rates["colour"].total) == (6, 7)
    assert (rates["shape"].hits, rates["shape"].total) == (6, 6)
    assert (rates["motion"].hits, rates["motion"].total) == (6, 7)
    directions = sum(clip.prompt.direction is not None for clip in report.clips)
    assert rates["direction"].total == directions
    for name in ("obeyed", "found", "steady"):
        assert (rates[name].hits, rates[name].total) == (6, 7)


def test_aspects_left_open_neither_agree_nor_disagree(report):
    empty = report.clips[-1]
    assert empty.agrees("background") is None
    assert empty.agrees("direction") is False
    assert report.clips[0].agrees("colour") is True
    with pytest.raises(KeyError):
        empty.agrees("size")


def test_a_report_without_trials_has_no_share():
    empty = Report({}, ())
    assert empty.rates["colour"].share is None
    assert empty.median_jerk is None
    assert Report.from_json(empty.to_json()) == empty
    assert "no trials" in empty.summary()


def test_json_round_trip(report):
    text = report.to_json()
    again = Report.from_json(text)
    assert again == report
    assert again.rates == report.rates
    assert again.frames is None


def test_json_states_rates_with_intervals(report):
    document = json.loads(report.to_json())
    colour = document["rates"]["colour"]
    assert colour["share"] == pytest.approx(6 / 7)
    assert colour["interval"] == pytest.approx(Rate(6, 7).interval)
    assert document["median_jerk"] == report.median_jerk
    assert document["clips"][-1]["prompt"]["text"] == "nothing"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.update(format=99),
        lambda d: d.pop("clips"),
        lambda d: d["clips"][0].pop("seed"),
        lambda d: d["clips"][0]["verdict"].pop("jerk"),
        lambda d: d["clips"][0]["prompt"].update(size="large"),
    ],
)
def test_broken_json_is_refused(report, spoil):
    document = json.loads(report.to_json())
    spoil(document)
    with pytest.raises(ValueError, match="evaluation report"):
        Report.from_json(json.dumps(document))


def test_contact_sheet_shows_frames_and_marks(report):
    sheet = np.asarray(contact_sheet(report))
    rows = len(report.clips)
    assert sheet.shape[0] == rows * 67
    for row, clip in enumerate(report.clips):
        red, green, _ = (int(v) for v in sheet[row * 67 + 30, 3])
        assert (green > red) == clip.obeys
    # Third column: frame 6 of the clip, untouched.
    left = 8 + 3 + 2 * 67
    shown = sheet[:64, left : left + 64].transpose(2, 0, 1)
    assert np.array_equal(shown, report.frames[0, 6])
    # The prompt is written to the right of the last column.
    assert (sheet[:12, 11 + 6 * 67 :].min(axis=2) < 100).any()


def test_contact_sheet_limits_its_rows_and_takes_any_words(report):
    first = report.clips[0]
    odd = replace(first, prompt=replace(first.prompt, text="шар 円 " * 40))
    sheet = contact_sheet(replace(report, clips=(odd, *report.clips[1:])), limit=2)
    assert sheet.height == 2 * 67


def test_contact_sheet_enlarges_small_clips(report):
    small = replace(report, frames=report.frames[..., ::2, ::2])
    assert contact_sheet(small).size == contact_sheet(report).size


def test_contact_sheet_needs_frames(report):
    with pytest.raises(ValueError, match="needs the frames"):
        contact_sheet(Report.from_json(report.to_json()))


@pytest.fixture
def red_clip():
    report = evaluate_judge(20, seed=3)
    index = next(i for i, c in enumerate(report.clips) if c.prompt.colour == "red")
    return report.frames[index]


def test_a_steady_clip_of_the_wrong_thing_does_not_obey(red_clip):
    verdict = judge(red_clip)
    assert verdict.steady
    assert ClipRecord(Prompt("", colour="red"), 0, verdict).obeys
    assert not ClipRecord(Prompt("", colour="blue"), 0, verdict).obeys


def test_frames_survive_as_rendered():
    rng = np.random.default_rng(2)
    scenes = [sample_scene(rng, moving=0.6, symmetric=0.3) for _ in range(2)]
    frames = evaluate_judge(2, seed=2).frames
    assert np.array_equal(frames[1], render(scenes[1], range(16)).numpy())
