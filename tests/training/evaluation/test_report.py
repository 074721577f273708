"""What clips add up to, JSON and contact sheets."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from training.data.synthetic import COLOURS, render, sample_scene
from training.evaluation.contact_sheet import contact_sheet
from training.evaluation.ground_truth import evaluate_judge
from training.evaluation.intervals import Proportion
from training.evaluation.prompts import Prompt
from training.evaluation.records import ClipRecord
from training.evaluation.report import JudgeCheck, Report
from training.evaluation.report_json import from_json, to_json
from training.evaluation.targets import targets
from training.judge import judge


@pytest.fixture(scope="module")
def report():
    """Seven clips: six good ones and one empty."""
    good = evaluate_judge(6, seed=2)
    empty = np.full((16, 3, 64, 64), 128, np.uint8)
    clip = ClipRecord.of(empty, Prompt("nothing", colour="red", motion="left"), 9, fps=8)
    return replace(good, clips=(*good.clips, clip))


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
    assert from_json(to_json(empty)) == empty
    assert "no trials" in empty.summary()


def test_confusion_counts_what_was_seen_by_what_was_asked(report):
    table = report.confusion("colour")
    assert table.columns == (*COLOURS, "none")
    asked = Counter(clip.prompt.colour for clip in report.clips)
    assert {name: sum(seen.values()) for name, seen in table.counts.items()} == asked
    assert table.counts["red"]["none"] == 1
    assert table.rate("red") == Proportion(asked["red"] - 1, asked["red"])
    assert sum(map(sum, (c.values() for c in report.confusion("shape").counts.values()))) == 6
    with pytest.raises(KeyError):
        report.confusion("direction")


def test_size_may_change_where_that_is_asked(report):
    grown = evaluate_judge(12, seed=4, moving=0.0)
    for clip in grown.clips:
        assert (clip.size_change is None) == (clip.prompt.motion in ("grow", "shrink"))
        assert clip.figures.size_change is not None
    counted = sum(clip.prompt.motion not in ("grow", "shrink") for clip in grown.clips)
    assert 0 < counted < 12
    assert grown.rates["steady_size"] == Proportion(counted, counted)
    assert grown.spreads["size_change"].count == counted
    assert grown.spreads["colour_change"].count == 12


@pytest.fixture
def full(report, perfect):
    """A report with every part that a report can have."""
    psnrs = [replace(c, first_frame_psnr=20.0 + i) for i, c in enumerate(report.clips)]
    check = JudgeCheck("drawn clips", {"colour": Proportion(3, 4)})
    return replace(
        report,
        clips=tuple(psnrs),
        curve_clips=perfect.curve_clips,
        reference={"flow": None, "flicker": 0.5},
        judge_checks=(check,),
    )


def test_json_round_trip(full):
    text = to_json(full)
    again = from_json(text)
    assert again == full
    assert again.rates == full.rates
    assert again.curve == full.curve
    assert targets(again) == targets(full)
    assert all(clip.frames is None for clip in again.clips)
    assert to_json(again) == text


def test_json_states_the_bars_and_the_curve(full):
    document = json.loads(to_json(full))
    states = {bar["name"]: bar["passed"] for bar in document["bars"]}
    assert states["first_frame_psnr"] is True
    assert states["fps_monotone"] is True
    assert states.keys() == {bar.name for bar in targets(full)}
    assert document["first_frame_psnr"]["mean"] == pytest.approx(23)
    points = document["fps_curve"]["points"]
    assert [point["fps"] for point in points] == [8, 12, 16, 24]
    assert points[0]["speed"]["median"] == pytest.approx(points[0]["truth"], rel=0.05)
    assert document["judge"][0]["rates"]["colour"]["share"] == 0.75
    assert document["figures"]["sharpness"]["count"] == len(full.clips)
    assert document["confusion"]["colour"]["red"]["none"] == 1
    assert document["misfit"]["count"] == 6  # not of the empty clip
    assert document["misfit"]["median"] < 0.02


@pytest.mark.parametrize(("mean", "passed"), [(19.99, False), (20.0, True), (25.0, True)])
def test_the_bar_of_the_first_frame(report, mean, passed):
    clips = tuple(replace(clip, first_frame_psnr=mean) for clip in report.clips)
    bar = targets(replace(report, clips=clips))[0]
    assert (bar.name, bar.unit, bar.value, bar.passed) == ("first_frame_psnr", "dB", mean, passed)
    assert bar.interval == pytest.approx((mean, mean))


def test_bars_of_words_hold_shares_to_their_limits(report):
    states = {bar.name: bar for bar in targets(report)}
    assert states["colour"].value == pytest.approx(6 / 7)
    assert states["colour"].interval == Proportion(6, 7).interval
    assert states["colour"].passed is False  # 86 % of 95 %
    assert states["shape"].passed is True
    assert states["fps_monotone"].passed is None
    assert states["colour_change"].value < 0.01
    assert states["size_change"].passed is True


def test_json_states_rates_with_intervals(report):
    document = json.loads(to_json(report))
    colour = document["rates"]["colour"]
    assert colour["share"] == pytest.approx(6 / 7)
    assert colour["interval"] == pytest.approx(Proportion(6, 7).interval)
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
    document = json.loads(to_json(report))
    spoil(document)
    with pytest.raises(ValueError, match="evaluation report"):
        from_json(json.dumps(document))


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
    assert np.array_equal(shown, report.clips[0].frames[6])
    # The prompt is written to the right of the last column.
    assert (sheet[:12, 11 + 6 * 67 :].min(axis=2) < 100).any()


def test_contact_sheet_limits_its_rows_and_takes_any_words(report):
    first = report.clips[0]
    odd = replace(first, prompt=replace(first.prompt, text="шар 円 " * 40))
    sheet = contact_sheet(replace(report, clips=(odd, *report.clips[1:])), limit=2)
    assert sheet.height == 2 * 67


def test_contact_sheet_enlarges_small_clips(report):
    halves = (replace(clip, frames=clip.frames[..., ::2, ::2]) for clip in report.clips)
    small = replace(report, clips=tuple(halves))
    assert contact_sheet(small).size == contact_sheet(report).size


def test_contact_sheet_needs_frames(report):
    with pytest.raises(ValueError, match="needs the frames"):
        contact_sheet(from_json(to_json(report)))


def test_a_steady_clip_of_the_wrong_thing_does_not_obey():
    scene = next(s for s in scenes(20) if s.colour == "red")
    verdict = judge(render(scene, range(16)))
    assert verdict.steady
    assert ClipRecord(Prompt("", colour="red"), 0, verdict).obeys
    assert not ClipRecord(Prompt("", colour="blue"), 0, verdict).obeys


def scenes(count):
    rng = np.random.default_rng(2)
    return [sample_scene(rng, moving=0.6, symmetric=0.3, split="all") for _ in range(count)]


def test_frames_survive_as_rendered():
    frames = evaluate_judge(2, seed=2).clips[1].frames
    assert np.array_equal(frames, render(scenes(2)[1], range(16)).numpy())


def test_large_clips_are_kept_small():
    clip = render(scenes(1)[0], range(4)).numpy().repeat(5, 2).repeat(5, 3)  # 320 pixels
    record = ClipRecord.of(clip, Prompt(""), 0)
    assert record.frames.shape == (4, 3, 106, 106)
    assert np.abs(record.frames.mean() - clip.mean()) < 2
    assert record.verdict.found
