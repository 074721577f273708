"""Evaluating pipelines that are scripted to obey, to disobey, or to fail."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from training.data.world import Scene, render
from training.evaluation import Prompt, draw_prompts, evaluate_text_to_video
from training.evaluation.text_to_video import to_bytes

PROMPTS = draw_prompts(12, 6)


class Scripted:
    """A pipeline that draws what each prompt demands, at a place that depends on its noise."""

    def __init__(self, prompts, **wrong):
        self.wanted = {prompt.text: prompt for prompt in prompts}
        self.wrong = wrong
        self.calls = []

    def __call__(self, prompt, *, num_inference_steps, guidance_scale, fps, generator, output_type):
        self.calls.append((len(prompt), num_inference_steps, guidance_scale, fps, output_type))
        clips = []
        for text, noise in zip(prompt, generator, strict=True):
            want = self.wanted[text]
            scene = Scene(
                shape=want.shape,
                colour=want.colour,
                background=want.background or "black",
                motion=want.motion or "still",
                fps=fps,
                x=32.0 + float(torch.rand(1, generator=noise)),
                y=32.0,
                radius=11.0,
                angle=0.0,
            )
            clips.append(render(replace(scene, **self.wrong), range(16)))
        return SimpleNamespace(frames=torch.stack(clips).float() / 255)


def evaluate(pipe, prompts=PROMPTS, seeds=(3,), **options):
    options = {"steps": 5, "guidance": 4.0, "fps": 8, "batch_size": 5} | options
    return evaluate_text_to_video(pipe, prompts, seeds, **options)


def test_an_obedient_model_gets_full_marks():
    report = evaluate(Scripted(PROMPTS))
    assert {rate.share for rate in report.rates.values()} == {1.0}
    assert report.rates["direction"].total == sum(p.direction is not None for p in PROMPTS)
    assert report.rates["background"].total == sum(p.background is not None for p in PROMPTS)
    assert report.frames.shape == (12, 16, 3, 64, 64)
    assert report.frames.dtype == np.uint8


@pytest.mark.parametrize(
    ("aspect", "value"),
    [("colour", "green"), ("background", "navy"), ("shape", "square"), ("motion", "up")],
)
def test_a_model_that_draws_one_thing_fails_that_aspect_only(aspect, value):
    rates = evaluate(Scripted(PROMPTS, **{aspect: value})).rates
    right = [getattr(p, aspect) == value for p in PROMPTS if getattr(p, aspect) is not None]
    assert rates[aspect].hits == sum(right)
    assert rates[aspect].hits < rates[aspect].total
    for other in {"colour", "background", "shape", "motion"} - {aspect}:
        assert rates[other].share == 1.0


def test_settings_reach_the_pipeline_in_batches():
    pipe = Scripted(PROMPTS)
    progress = []
    report = evaluate(pipe, on_progress=lambda done, total: progress.append((done, total)))
    assert pipe.calls == [(n, 5, 4.0, 8, "pt") for n in (5, 5, 2)]
    assert progress == [(5, 12), (10, 12), (12, 12)]
    assert report.settings == {"steps": 5, "guidance": 4.0, "fps": 8, "prompts": 12}


def test_every_prompt_and_seed_has_noise_of_its_own():
    report = evaluate(Scripted(PROMPTS), seeds=(3, 2**32 - 1))
    seeds = [clip.seed for clip in report.clips]
    assert seeds == [*range(3, 15), 2**32 - 1, *range(11)]
    assert [clip.prompt for clip in report.clips] == [*PROMPTS, *PROMPTS]


def test_results_do_not_depend_on_the_batch_size():
    small, large = (evaluate(Scripted(PROMPTS), batch_size=size) for size in (1, 12))
    assert small == large
    assert np.array_equal(small.frames, large.frames)


def test_the_fps_label_sets_the_speed():
    prompt = Prompt("go", colour="red", background="grey", shape="circle", motion="right")
    speeds = {}
    for fps in (8, 24):
        (clip,) = evaluate(Scripted([prompt]), [prompt], fps=fps).clips
        speeds[fps] = clip.verdict.displacement[0]
    assert speeds[8] / speeds[24] == pytest.approx(3, rel=0.05)


def test_a_model_that_makes_no_numbers_fails_without_a_crash():
    def broken(prompt, **_):
        return SimpleNamespace(frames=torch.full((len(prompt), 16, 3, 64, 64), torch.nan))

    report = evaluate(broken)
    assert report.rates["found"].hits == 0
    assert report.rates["obeyed"].hits == 0
    assert report.median_jerk is None


@pytest.mark.parametrize("shape", [(12, 3, 64, 64), (5, 3, 16, 64, 64)])
def test_frames_of_the_wrong_shape_are_an_error(shape):
    with pytest.raises(ValueError, match="clips must be"):
        evaluate(lambda prompt, **_: SimpleNamespace(frames=torch.zeros(shape)))


def test_a_missing_clip_is_an_error():
    with pytest.raises(ValueError, match="made 1 clips of 5 prompts"):
        evaluate(lambda prompt, **_: SimpleNamespace(frames=torch.zeros(1, 16, 3, 64, 64)))


@pytest.mark.parametrize("gap", [{"prompts": ()}, {"seeds": ()}, {"batch_size": 0}])
def test_nothing_to_render_is_an_error(gap):
    with pytest.raises(ValueError, match="needs prompts, seeds"):
        evaluate(Scripted(PROMPTS), **gap)


def test_bytes_are_rounded_and_clamped():
    values = torch.tensor([-0.2, 0.0, 0.5, 1.0, 1.4])
    frames = values.view(1, 5, 1, 1, 1).expand(1, 5, 3, 2, 2)
    assert to_bytes(frames)[0, :, 0, 0, 0].tolist() == [0, 0, 128, 255, 255]
