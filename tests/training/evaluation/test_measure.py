"""Evaluating pipelines that are scripted to obey, to disobey, or to fail."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.training.evaluation.conftest import I2V, LABELS, Scripted, run
from training.data.synthetic import DIRECTIONS, render
from training.evaluation.clips import to_bytes
from training.evaluation.measure import EvaluationPlan
from training.evaluation.targets import targets


def passed(report):
    return {bar.name: bar.passed for bar in targets(report)}


def test_an_obedient_model_gets_full_marks(perfect, cases):
    assert {name: rate.share for name, rate in perfect.rates.items()} == dict.fromkeys(
        perfect.rates, 1.0
    )
    assert perfect.rates["motion"].total == len(cases)
    assert set(passed(perfect).values()) == {True}
    assert perfect.curve.monotone.share == 1
    assert perfect.settings["task"] == "text-to-video"


def test_an_obedient_animator_gets_full_marks(cases):
    pipe = Scripted(cases)
    report = run(pipe, cases, I2V)
    assert set(passed(report).values()) == {True}
    assert passed(report).keys() >= {"first_frame_psnr", "motion"}
    assert report.first_frame_psnr.count == len(cases)
    # The model saw the first frames of the scenes.
    first = torch.cat([render(case.scene, [0]) for case in cases[:5]])
    assert torch.equal(pipe.calls[0]["image"], first)


def test_the_first_frame_is_compared_with_the_picture_as_the_model_received_it(cases):
    class Returning(Scripted):
        """Gives the picture back, 16 times, a little darker."""

        def __call__(self, prompt, **options):
            pictures = (options["image"].float() - 5).clamp(0, 255) / 255
            return SimpleNamespace(frames=pictures[:, None].repeat(1, 16, 1, 1, 1))

    small = replace(I2V, width=48, height=32)
    report = run(Returning(cases), cases, small)
    assert report.clips[0].frames.shape == (16, 3, 32, 48)
    assert report.first_frame_psnr.mean == pytest.approx(20 * np.log10(255 / 5), abs=0.05)


def test_another_picture_fails_the_first_frame(cases):
    report = run(Scripted(cases, lambda scene: replace(scene, background="white")), cases, I2V)
    dark = [case.scene.background in ("black", "navy") for case in cases]
    assert any(dark)
    assert report.first_frame_psnr.mean < 20
    assert passed(report)["first_frame_psnr"] is False
    assert passed(report)["motion"] is True


def test_a_model_that_never_moves_fails_motion_and_fps_only(frozen, cases):
    still = sum(case.prompt.motion == "still" for case in cases)
    assert frozen.rates["motion"].hits == still
    assert frozen.rates["direction"].hits == 0
    assert frozen.curve.monotone.hits == 0
    assert passed(frozen) == {
        "colour": True, "shape": True, "motion": False, "fps_monotone": False,
        "colour_change": True, "size_change": True,
    }  # fmt: skip


def test_shuffled_colours_fail_colour_only(cases):
    cycle = dict(zip(
        ("red", "green", "blue", "yellow", "purple", "orange"),
        ("green", "blue", "yellow", "purple", "orange", "red"), strict=True,
    ))  # fmt: skip
    report = run(Scripted(cases, lambda s: replace(s, colour=cycle[s.colour])), cases)
    assert report.rates["colour"].hits == 0
    assert report.rates["obeyed"].hits == 0
    assert {name for name, ok in passed(report).items() if not ok} == {"colour"}
    counts = report.confusion("colour").counts
    assert all(seen == {cycle[asked]: sum(seen.values())} for asked, seen in counts.items())


@pytest.mark.parametrize(("aspect", "value"), [("background", "navy"), ("shape", "square")])
def test_a_model_that_draws_one_thing_fails_that_aspect_only(cases, aspect, value):
    report = run(Scripted(cases, lambda scene: replace(scene, **{aspect: value})), cases)
    right = [getattr(case.prompt, aspect) == value for case in cases]
    assert report.rates[aspect].hits == sum(right) < len(cases)
    for other in {"colour", "background", "shape", "motion"} - {aspect}:
        assert report.rates[other].share == 1.0


def test_objects_that_swell_where_they_should_not_are_not_steady(cases):
    swelling = {"left": "grow", "right": "grow", "up": "grow", "down": "grow", "still": "grow"}
    pipe = Scripted(
        cases,
        lambda s: replace(s, radius=9.0, motion=swelling.get(s.motion, s.motion)),
    )
    report = run(pipe, cases)
    assert report.rates["steady_size"].hits < report.rates["steady_size"].total
    asked_to_grow = sum(case.prompt.motion in ("grow", "shrink") for case in cases)
    assert report.rates["steady_size"].total == len(cases) - asked_to_grow
    assert passed(report)["size_change"] is False


def test_the_curve_takes_the_same_prompts_and_noise_at_every_label(perfect, cases):
    moving = [i for i, case in enumerate(cases) if case.prompt.motion in DIRECTIONS][:4]
    made = [(clip.prompt, clip.seed, clip.fps) for clip in perfect.curve_clips]
    assert made == [(cases[i].prompt, 3 + i, fps) for i in moving for fps in LABELS]
    # The clips at the model's own label are not made twice.
    pipe = Scripted(cases)
    run(pipe, cases)
    assert sum(len(call["prompt"]) for call in pipe.calls) == len(cases) + 3 * 4


@pytest.mark.parametrize("change", [{"curve_prompts": 0}, {"labels": (8,)}, {"labels": ()}])
def test_there_may_be_no_curve(cases, change):
    report = run(Scripted(cases), cases[:6], **change)
    assert report.curve is None
    assert passed(report)["fps_monotone"] is None


def test_settings_reach_the_pipeline_in_batches(cases):
    pipe = Scripted(cases)
    report = run(pipe, cases[:7], curve_prompts=0)
    assert [len(call["prompt"]) for call in pipe.calls] == [5, 2]
    call = pipe.calls[0]
    names = ("num_inference_steps", "guidance_scale", "height", "width", "num_frames", "image")
    assert [call[name] for name in names] == [5, 4.0, 64, 64, 16, None]
    assert call["fps"] == [8] * 5
    stated = {"prompts": 7, "first_seed": 3, "fps": 8, "steps": 5, "guidance": 4.0}
    assert report.settings.items() >= stated.items()


def test_every_case_has_noise_of_its_own(cases):
    report = run(Scripted(cases), cases[:4], seed=2**32 - 2, curve_prompts=0)
    assert [clip.seed for clip in report.clips] == [2**32 - 2, 2**32 - 1, 0, 1]


def test_results_do_not_depend_on_the_batch_size(cases):
    small, large = (run(Scripted(cases), cases[:6], batch_size=size) for size in (1, 30))
    assert small == large


def test_a_model_that_makes_no_numbers_fails_without_a_crash(cases):
    def broken(prompt, **_):
        return SimpleNamespace(frames=torch.full((len(prompt), 16, 3, 64, 64), torch.nan))

    report = run(broken, cases[:3])
    for name in ("found", "obeyed", "steady", "colour"):
        assert report.rates[name].hits == 0
    assert report.curve.monotone.hits == 0
    assert report.curve.monotone.total > 0
    assert report.median_jerk is None
    assert passed(report)["size_change"] is None


@pytest.mark.parametrize("shape", [(12, 3, 64, 64), (5, 3, 16, 64, 64)])
def test_frames_of_the_wrong_shape_are_an_error(cases, shape):
    with pytest.raises(ValueError, match="clips must be"):
        run(lambda prompt, **_: SimpleNamespace(frames=torch.zeros(shape)), cases)


def test_a_missing_clip_is_an_error(cases):
    with pytest.raises(ValueError, match="made 1 clips of 5 prompts"):
        run(lambda prompt, **_: SimpleNamespace(frames=torch.zeros(1, 16, 3, 64, 64)), cases)


@pytest.mark.parametrize("gap", [{"cases": ()}, {"batch_size": 0}])
def test_nothing_to_make_is_an_error(cases, gap):
    with pytest.raises(ValueError, match="needs cases"):
        EvaluationPlan(**({"cases": cases, "seed": 0, "fps": 8} | gap))


def test_bytes_are_rounded_and_clamped():
    values = torch.tensor([-0.2, 0.0, 0.5, 1.0, 1.4])
    frames = values.view(1, 5, 1, 1, 1).expand(1, 5, 3, 2, 2)
    assert to_bytes(frames)[0, :, 0, 0, 0].tolist() == [0, 0, 128, 255, 255]
