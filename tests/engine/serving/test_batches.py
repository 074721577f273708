"""Several jobs in one call of the pipeline: each as if it were alone."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import Decoder
from PIL import Image
from torch import Tensor, nn

from engine.checkpoints import load_pipeline
from engine.models import VideoUNet
from engine.models.embeddings import ScalarEmbedding
from engine.pipelines import decode_latents
from engine.serving import Cancelled, Failed, FailureReason, Finished, Progress, Started
from engine.serving.backends.videocrafter import VideoCrafterModel
from engine.serving.media.mp4 import find_ffmpeg
from tests.engine.serving.clips import Frames
from tests.engine.serving.workbench import (
    Blocked,
    Seen,
    Workbench,
    after,
    before,
    frames_of,
    memory_for,
)


@pytest.fixture
def bench(tiny_t2v: Path, tiny_i2v: Path, tmp_path: Path) -> Workbench:
    return Workbench({"tiny-t2v": tiny_t2v, "tiny-i2v": tiny_i2v}, tmp_path)


def picture(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(buffer, "PNG")
    return buffer.getvalue()


def sampled(counts: list[int]) -> Any:
    """Notes how many samples each call of the UNet has; guidance doubles them."""
    return before(VideoUNet, lambda _, inputs: counts.append(len(inputs[0])))


def different_jobs(bench: Workbench, model: str, steps: int = 3) -> list[Seen]:
    colours = ("red", "blue", "lime")
    return [
        bench.job(
            f"job-{index}",
            model=model,
            seed=index,
            steps=steps,
            prompt=("a red ball", "two dogs", "snow")[index],
            negative_prompt=(None, "blur", None)[index],
            fps=(8, 24, 4)[index],
            image=picture(colours[index]) if model == "tiny-i2v" else None,
        )
        for index in range(3)
    ]


@pytest.mark.parametrize("model", ["tiny-t2v", "tiny-i2v"])
@pytest.mark.parametrize("scheduler", ["dpm++2m", "ddim-original"])
def test_each_clip_is_what_it_is_alone(bench: Workbench, model: str, scheduler: str) -> None:
    """But for rounding: a larger product is added up in another order."""
    jobs = [seen.job for seen in different_jobs(bench, model, steps=4)]
    pipeline = load_pipeline(replace(bench.catalog.get(model), scheduler=scheduler))

    def frames(latents: Tensor) -> Tensor:
        return (decode_latents(pipeline.vae, latents) * 255).round()

    model, wishes = VideoCrafterModel(pipeline), [job.settings.params for job in jobs]
    clips = model.run(wishes, lambda step, clips: None)
    together = torch.cat(list(clips))
    for wish, of_batch in zip(wishes, clips, strict=True):
        (alone,) = model.run([wish], lambda step, clips: None)
        assert float((alone - of_batch).abs().max()) < 1e-4 * float(alone.std())
        difference = (frames(alone) - frames(of_batch)).abs()
        assert float(difference.max()) <= 1
        assert float((difference > 0).float().mean()) < 0.005
    first, second, third = frames(together)
    assert float((first - second).abs().mean()) > 3
    assert float((second - third).abs().mean()) > 3


def test_the_files_of_a_batch_are_those_of_single_runs(
    tiny_t2v: Path, tiny_i2v: Path, tmp_path: Path
) -> None:
    clips = []
    for batch in (1, 3):
        folder = tmp_path / str(batch)
        bench = Workbench({"tiny-t2v": tiny_t2v, "tiny-i2v": tiny_i2v}, folder)
        counts: list[int] = []
        with sampled(counts):
            ends = bench.run(different_jobs(bench, "tiny-t2v"), max_batch=batch)
        assert counts == [2 * batch] * (3 * 3 // batch)
        clips.append([frames_of(end) for end in ends])
        assert [end.result.params.fps for end in ends if isinstance(end, Finished)] == [8, 24, 4]

    def apart(a: Frames, b: Frames) -> float:
        return float(np.abs(a.astype(int) - b.astype(int)).mean())

    for index in range(3):
        # What rounding changes in a pixel, the encoder may spread: these clips are all noise.
        same = apart(clips[0][index], clips[1][index])
        assert same < 0.2 * apart(clips[0][index], clips[1][(index + 1) % 3])


def test_each_job_has_its_own_events_and_files(bench: Workbench) -> None:
    jobs = bench.jobs(3)
    ends = bench.run(jobs, max_batch=4, previews_per_job=2)
    for seen, end in zip(jobs, ends, strict=True):
        assert Started("cpu") in seen.events
        assert seen.steps == [1, 2, 3]
        assert isinstance(end, Finished)
        assert end.result.job_id == seen.job.id
        assert (end.result.params.prompt, end.result.params.seed) == (
            seen.job.settings.params.prompt,
            seen.job.settings.params.seed,
        )
        assert end.result.sidecar.is_file()
    previews = [
        event.preview for seen in jobs for event in seen.events if isinstance(event, Progress)
    ]
    assert len({preview for preview in previews if preview}) >= 3, "one for each, of its own clip"
    assert len(bench.files()) == 6


def test_only_jobs_that_fit_together_are_run_together(bench: Workbench) -> None:
    jobs = [bench.job("a"), bench.job("b", steps=2), bench.job("c", width=48), bench.job("d")]
    counts: list[int] = []
    with sampled(counts):
        ends = bench.run(jobs, max_batch=8)
    assert all(isinstance(end, Finished) for end in ends)
    assert sorted(counts) == [2, 2, 2, 2, 2, 4, 4, 4]


def test_by_default_a_cpu_renders_one_at_a_time(bench: Workbench) -> None:
    counts: list[int] = []
    with sampled(counts):
        bench.run(bench.jobs(2, steps=1))
    assert counts == [2, 2]


def test_a_cancelled_job_leaves_the_others_alone(bench: Workbench) -> None:
    jobs = bench.jobs(3, steps=6)
    jobs[1].job.subscribe(lambda event: jobs[1].job.cancel() if event == Progress(2, 6) else None)
    ends = bench.run(jobs, max_batch=3)
    assert [type(end) for end in ends] == [Finished, Cancelled, Finished]
    assert jobs[1].steps == [1, 2]
    assert jobs[2].steps == [1, 2, 3, 4, 5, 6]
    assert bench.files() == ["job-0.json", "job-0.mp4", "job-2.json", "job-2.mp4"]


def test_when_all_are_cancelled_the_run_ends_within_a_step(bench: Workbench) -> None:
    jobs = bench.jobs(3, steps=30)
    for seen in jobs:
        seen.job.subscribe(
            lambda event, job=seen.job: job.cancel() if event == Progress(2, 30) else None
        )
    calls: list[int] = []
    with sampled(calls):
        ends = bench.run(jobs, max_batch=3)
    assert [type(end) for end in ends] == [Cancelled] * 3
    assert len(calls) == 3
    assert bench.files() == []


def test_one_clip_that_is_no_number_fails_alone(bench: Workbench) -> None:
    def spoil(output: Any) -> None:
        output.sample[1::3] = torch.nan  # of [3 without prompt, 3 with it]

    jobs = bench.jobs(3)
    with after(VideoUNet, spoil):
        ends = bench.run(jobs, max_batch=3)
    assert [type(end) for end in ends] == [Finished, Failed, Finished]
    assert isinstance(ends[1], Failed)
    assert ends[1].reason is FailureReason.NON_FINITE
    assert bench.files() == ["job-0.json", "job-0.mp4", "job-2.json", "job-2.mp4"]


def test_an_encoder_that_fails_on_one_clip_fails_that_one(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(
        "#!/bin/sh\n"
        'for word in "$@"; do case "$word" in */floor33-*)\n'  # the file with the clip's words
        'if grep -q two.dogs "$word"; then echo broken >&2; exit 1; fi;; esac; done\n'
        f'exec {find_ffmpeg()} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    ends = bench.run(bench.jobs(3), max_batch=3)
    assert [type(end) for end in ends] == [Finished, Failed, Finished]
    assert isinstance(ends[1], Failed)
    assert ends[1].reason is FailureReason.ENCODER_FAILED


def test_a_batch_without_memory_is_halved_until_it_fits(bench: Workbench) -> None:
    jobs = bench.jobs(5)
    with memory_for(samples=4) as asked:
        ends = bench.run(jobs, max_batch=8)
        assert [type(end) for end in ends] == [Finished] * 5
    # 5 clips of two samples, then 2 + 3, then the 3 as 1 + 2.
    assert asked == [10, 4, 4, 4, 6, 2, 2, 2, 4, 4, 4]
    assert jobs[0].steps == [1, 2, 3]


def test_what_was_too_many_once_is_not_tried_again(bench: Workbench) -> None:
    first = bench.jobs(4, steps=1)
    with memory_for(samples=4) as asked, bench.worker(max_batch=8) as worker:
        worker.start()
        for seen in first:
            seen.end()
        asked.clear()
        block = Blocked()
        with before(Decoder, block.act):
            bench.job("holder", width=48, steps=1)
            assert block.reached.wait(60)
            later = [bench.job(f"later-{index}", steps=1) for index in range(4)]
            block.go_on.set()
            for seen in later:
                assert isinstance(seen.end(), Finished)
    assert asked[-2:] == [4, 4]


def test_a_fault_that_one_clip_brings_is_found_by_halving(
    bench: Workbench, caplog: pytest.LogCaptureFixture
) -> None:
    """Two runs of the pipeline more, so that one bad request does not take the others with it."""

    def refuse(module: nn.Module, inputs: Any) -> None:
        # Rates are the embedded numbers of a sample: job-1 is the only one with 24.
        if any(int(rate) == 24 for rate in inputs[0].flatten().tolist()):
            raise ValueError("24 is more than I can bear")

    jobs = bench.jobs(3)
    with before(ScalarEmbedding, refuse):
        ends = bench.run(jobs, max_batch=3)
    assert [type(end) for end in ends] == [Finished, Failed, Finished]
    assert "24 is more than I can bear" in caplog.text
