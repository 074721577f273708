"""The law of the fps label: the higher it is, the slower the object from frame to frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.data.synthetic import DIRECTIONS, FPS_LABELS, SPEED, render, sample_scene
from training.evaluation.chart import draw_curve
from training.evaluation.fps_curve import fps_curve
from training.evaluation.ground_truth import degrade, judge_scenes
from training.evaluation.intervals import Proportion
from training.evaluation.prompts import Prompt
from training.evaluation.records import ClipRecord


def movers(count, seed):
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng, moving=1.0, split="all") for _ in range(count)]
    return [scene for scene in scenes if scene.motion in DIRECTIONS]


def drawn_curve(scenes, speed_of=lambda fps: fps, spoil=lambda clip: clip):
    """The curve of drawn clips; ``speed_of`` says which label's speed each label really has."""
    clips = []
    for number, scene in enumerate(scenes):
        for fps in FPS_LABELS:
            clip = spoil(render(replace(scene, fps=speed_of(fps)), range(16)).numpy())
            prompt = Prompt("go", motion=scene.motion)
            clips.append(ClipRecord.of(clip, prompt, number, fps=fps))
    return fps_curve(clips, 64)


def test_drawn_clips_follow_the_law():
    curve = drawn_curve(movers(6, 0))
    assert curve.labels == FPS_LABELS
    assert curve.monotone == Proportion(6, 6)
    assert curve.pairs == Proportion(36, 36)
    assert curve.truth == tuple(SPEED / fps for fps in FPS_LABELS)
    for index, truth in enumerate(curve.truth):
        assert curve.spread(index).median == pytest.approx(truth, rel=0.02)
        assert curve.directions[index] == Proportion(6, 6)


def test_noise_of_25_db_does_not_break_the_law():
    rng = np.random.default_rng(1)
    curve = drawn_curve(movers(5, 1), spoil=lambda clip: degrade(clip, 25, rng))
    assert curve.monotone.share == 1


def test_a_label_without_effect_has_no_monotone_prompt():
    curve = drawn_curve(movers(3, 2), speed_of=lambda _fps: 12)
    assert curve.monotone == Proportion(0, 3)
    assert curve.pairs == Proportion(0, 18)  # equal is not lower: there is no tolerance


def test_one_pair_in_the_wrong_order_counts_once():
    swapped = {8: 8, 12: 16, 16: 12, 24: 24}
    curve = drawn_curve(movers(2, 3), speed_of=swapped.__getitem__)
    assert curve.monotone == Proportion(0, 2)
    assert curve.pairs == Proportion(10, 12)


def test_a_clip_without_an_object_breaks_its_prompt_only():
    rng = iter(range(100))

    def third_is_empty(clip):
        return np.full_like(clip, 14) if next(rng) == 2 else clip

    curve = drawn_curve(movers(2, 4), spoil=third_is_empty)
    assert curve.monotone == Proportion(1, 2)
    assert curve.speeds[0][2] is None
    assert curve.spread(2).count == 1
    assert curve.directions[2] == Proportion(1, 2)


def test_incomplete_prompts_are_left_out_and_one_label_is_no_curve():
    scenes = movers(2, 5)
    clips = judge_scenes(
        [replace(scenes[0], fps=8), replace(scenes[0], fps=24), scenes[1]],
        np.stack([render(scene, range(8)).numpy() for scene in (scenes[0], scenes[0], scenes[1])]),
        {},
    ).clips
    same = [replace(clip, prompt=Prompt("go"), seed=0) for clip in clips[:2]]
    lonely = replace(clips[2], fps=8)
    curve = fps_curve([*same, lonely], 64)
    assert len(curve.speeds) == 1
    assert fps_curve([lonely], 64) is None
    assert fps_curve([], 64) is None


def test_larger_clips_have_a_larger_truth():
    clips = drawn_curve(movers(1, 6))
    assert clips.truth[0] == pytest.approx(SPEED / 8)
    records = [ClipRecord.of(render(replace(s, fps=f), range(8)).numpy().repeat(2, 2).repeat(2, 3),
               Prompt("go"), 0, fps=f) for s in movers(1, 6) for f in (8, 24)]  # fmt: skip
    curve = fps_curve(records, 128)
    assert curve.spread(0).median == pytest.approx(curve.truth[0], rel=0.03)


def test_the_chart_falls_with_the_curve():
    chart = draw_curve(drawn_curve(movers(3, 7)))
    heights = [y for _, y in chart.dots]
    assert heights == sorted(heights)  # down the page
    assert [tick.text for tick in chart.x_ticks] == ["8", "12", "16", "24"]
    assert chart.y_ticks[0].text == "0"
    assert chart.y_ticks[0].at == chart.bottom
    truth = [float(point.split(",")[1]) for point in chart.truth.split()]
    assert truth == pytest.approx(heights, abs=5)
    assert len(chart.rows) == 3


def test_a_curve_without_any_object_can_be_drawn():
    curve = drawn_curve(movers(1, 8), spoil=lambda clip: np.full_like(clip, 14))
    chart = draw_curve(curve)
    assert chart.line == ""
    assert chart.band == ""
