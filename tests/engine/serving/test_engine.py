"""The whole way: requests in, events and MP4 files out, with tiny models and the real encoder."""

import asyncio
import io
import json
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from engine.checkpoints import Catalog, load_pipeline
from engine.serving import (
    Cancelled,
    Engine,
    EngineClosed,
    EngineSettings,
    EngineSettingsError,
    Event,
    Failed,
    FailureReason,
    Finished,
    GenerationRequest,
    Job,
    JobCancelled,
    Progress,
    Queued,
    RequestError,
    RequestShape,
    Started,
)
from tests.engine.serving.clips import watch_video

MakeEngine = Callable[..., Engine]
MakeRequest = Callable[..., GenerationRequest]


async def events_of(job: Job) -> list[Event]:
    async with asyncio.timeout(120):
        return [event async for event in job.events()]


async def failure_of(job: Job) -> Failed:
    last = (await events_of(job))[-1]
    assert isinstance(last, Failed)
    return last


def hold_at(job: Job, wanted: type[Event] = Progress) -> tuple[threading.Event, threading.Event]:
    """Stop the worker in the job's first event of a kind: (it has come there, let it go on)."""
    reached, go_on = threading.Event(), threading.Event()

    def listen(event: Event) -> None:
        if isinstance(event, wanted) and not reached.is_set():
            reached.set()
            go_on.wait(60)

    job.subscribe(listen)
    return reached, go_on


async def reached(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 60)


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def png(colour: str = "red", size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


async def test_a_prompt_becomes_a_clip(
    engine: Engine, request_for: MakeRequest, tmp_path: Path
) -> None:
    job = engine.submit(request_for(negative_prompt="blur"))
    events = await events_of(job)
    assert events[0] == Queued(1, 0.0, 0.0)
    assert events[1] == Started("cpu")
    progress = [event for event in events if isinstance(event, Progress)]
    assert [(event.step, event.total_steps) for event in progress] == [(1, 3), (2, 3), (3, 3)]
    assert len(events) == 2 + 3 + 1
    last = events[-1]
    assert isinstance(last, Finished)
    result = last.result
    assert result == await job.result()

    month = datetime.now(UTC).strftime("%Y-%m")
    assert result.path == tmp_path / "out" / month / "job.mp4"
    assert result.sidecar == tmp_path / "out" / month / "job.json"
    assert files_below(tmp_path / "out") == ["job.json", "job.mp4"]
    params = result.params
    assert (params.model, params.seed, params.steps, params.fps) == (
        "tiny-t2v",
        7,
        3,
        8,
    )
    assert (params.width, params.height, params.num_frames) == (32, 32, 4)
    assert (params.prompt, params.negative_prompt) == ("a red ball", "blur")
    assert result.duration_s == pytest.approx(0.5)
    assert result.elapsed_s > 0
    assert result.model_revision == job.settings.model.revision


async def test_the_file_shows_what_the_pipeline_makes(
    engine: Engine, request_for: MakeRequest, tiny_t2v: Path
) -> None:
    result = await engine.submit(request_for()).result()
    video = watch_video(result.path)
    assert video.frames.shape == (4, 320, 320, 3)
    assert video.fps == 8
    pipeline = load_pipeline(Catalog({"tiny-t2v": tiny_t2v}).get("tiny-t2v"))
    frames = pipeline(
        "a red ball",
        height=32,
        width=32,
        num_frames=4,
        num_inference_steps=3,
        guidance_scale=3.0,
        fps=8,
        generator=torch.Generator().manual_seed(7),
    ).frames[0]
    expected = frames.permute(0, 2, 3, 1).numpy() * 255
    averaged = video.frames.reshape(4, 32, 10, 32, 10, 3).mean(axis=(2, 4))
    assert np.abs(averaged - expected).mean() < 6
    assert expected.std() > 10, "a flat clip would prove nothing"


async def test_file_and_sidecar_say_how_to_make_the_clip_again(
    engine: Engine, request_for: MakeRequest
) -> None:
    import av

    result = await engine.submit(request_for(prompt='snow "雪" = 100 %', fps=24, steps=2)).result()
    with av.open(str(result.path)) as container:
        comment = json.loads(container.metadata["comment"])
    expected = {
        "generator": "floor33",
        "model": "tiny-t2v",
        "model_revision": result.model_revision,
        "scheduler": "dpm++2m",
        "prompt": 'snow "雪" = 100 %',
        "negative_prompt": None,
        "seed": 7,
        "steps": 2,
        "guidance": 3.0,
        "fps": 24,
        "playback_fps": 24,
        "width": 32,
        "height": 32,
        "num_frames": 4,
    }
    assert comment == expected
    sidecar = json.loads(result.sidecar.read_bytes())
    assert expected.items() <= sidecar.items()
    assert (sidecar["job_id"], sidecar["file"]) == ("job", "job.mp4")
    assert datetime.fromisoformat(sidecar["created_at"]).tzinfo is not None


async def test_a_seed_means_one_clip(engine: Engine, request_for: MakeRequest) -> None:
    jobs = [
        engine.submit(request_for(name, seed=seed)) for name, seed in (("a", 1), ("b", 2), ("c", 1))
    ]
    a, b, c = [(await job.result()).path.read_bytes() for job in jobs]
    assert a == c
    assert a != b


async def test_sizes_and_lengths_are_obeyed(engine: Engine, request_for: MakeRequest) -> None:
    request = request_for(width=48, height=32, num_frames=3, fps=4)
    result = await engine.submit(request).result()
    video = watch_video(result.path)
    assert video.frames.shape == (3, 320, 480, 3)
    assert video.fps == 4
    assert (result.params.width, result.params.height, result.params.num_frames) == (48, 32, 3)


async def test_a_model_may_play_at_another_rate_than_it_is_told(
    make_engine: MakeEngine, request_for: MakeRequest, tiny_t2v: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_t2v, tmp_path / "model"))
    facts = json.loads((folder / "floor33.json").read_text())
    (folder / "floor33.json").write_text(json.dumps(facts | {"playback_fps": 10}))
    engine = make_engine(model_dirs={"tiny-t2v": folder})
    result = await engine.submit(request_for(fps=24)).result()
    assert watch_video(result.path).fps == 10
    assert (result.params.fps, result.duration_s) == (24, pytest.approx(0.4))


async def test_a_picture_steers_the_clip(engine: Engine, request_for: MakeRequest) -> None:
    clips = []
    for colour in ("red", "blue"):
        request = request_for(colour, model="tiny-i2v", image=png(colour))
        clips.append(watch_video((await engine.submit(request).result()).path).frames.astype(int))
    difference = float(np.abs(clips[0] - clips[1]).mean())
    assert difference > 0.5


async def test_previews_are_few_small_and_of_the_clip(
    make_engine: MakeEngine, request_for: MakeRequest
) -> None:
    engine = make_engine(previews_per_job=2)
    events = await events_of(engine.submit(request_for(steps=12)))
    progress = [event for event in events if isinstance(event, Progress)]
    previews = [event.preview for event in progress if event.preview]
    assert progress[0].preview is not None
    assert progress[-1].preview is None
    assert 1 <= len(previews) <= 2
    for data in previews:
        with Image.open(io.BytesIO(data)) as picture:
            assert (picture.format, picture.size) == ("WEBP", (192, 192))
            assert np.asarray(picture).std() > 2
        assert len(data) < 50_000


async def test_previews_can_be_turned_off(
    make_engine: MakeEngine, request_for: MakeRequest
) -> None:
    events = await events_of(make_engine(previews_per_job=0).submit(request_for()))
    assert [event.preview for event in events if isinstance(event, Progress)] == [None] * 3


async def test_a_running_job_is_cancelled_within_one_step(
    engine: Engine, request_for: MakeRequest, tmp_path: Path
) -> None:
    job = engine.submit(request_for(steps=50))
    arrived, go_on = hold_at(job)
    await reached(arrived)
    job.cancel()
    go_on.set()
    events = await events_of(job)
    assert [event.step for event in events if isinstance(event, Progress)] == [1]
    assert events[-1] == Cancelled()
    with pytest.raises(JobCancelled):
        await job.result()
    assert files_below(tmp_path / "out") == []
    assert isinstance((await events_of(engine.submit(request_for())))[-1], Finished)


async def test_a_waiting_job_is_cancelled_at_once(engine: Engine, request_for: MakeRequest) -> None:
    first = engine.submit(request_for("first"))
    arrived, go_on = hold_at(first)
    await reached(arrived)
    second, third = engine.submit(request_for("second")), engine.submit(request_for("third"))
    second.cancel()
    places, end = (await events_of(second))[:-1], (await events_of(second))[-1]
    assert [event.position for event in places if isinstance(event, Queued)] == [1] * len(places)
    assert end == Cancelled()
    async with asyncio.timeout(60):
        async for event in third.events():  # told a little later, all at once
            if isinstance(event, Queued) and event.position == 1:
                break
    go_on.set()
    assert isinstance((await events_of(third))[-1], Finished)
    first.cancel()  # over already: nothing happens
    assert isinstance((await events_of(first))[-1], Finished)


async def test_a_finished_clip_teaches_the_engine_how_long_the_next_will_take(
    engine: Engine, request_for: MakeRequest
) -> None:
    guess = engine.estimate(engine.resolve(request_for()))
    assert guess.error >= 1
    result = await engine.submit(request_for()).result()
    known = engine.estimate(engine.resolve(request_for("next", owner="anybody", seed=8)))
    assert known.error < 1
    assert known.seconds == pytest.approx(result.elapsed_s, rel=0.01)


async def test_clips_of_the_past_can_be_taught(engine: Engine, request_for: MakeRequest) -> None:
    work = RequestShape(model="tiny-t2v", width=32, height=32, num_frames=4, steps=3)
    engine.learn([(work, 4.0), (work, 4.0)])
    assert engine.estimate(engine.resolve(request_for())).seconds == pytest.approx(4.0)


async def test_the_queue_can_be_seen(engine: Engine, request_for: MakeRequest) -> None:
    work = RequestShape(model="tiny-t2v", width=32, height=32, num_frames=4, steps=3)
    engine.learn([(work, 1000.0)])
    running = engine.submit(request_for("running", owner="greedy"))
    arrived, go_on = hold_at(running)
    await reached(arrived)
    engine.submit(request_for("greedy-too", owner="greedy"))
    engine.submit(request_for("modest", owner="modest"))
    view = engine.queue()
    assert [(job.id, job.owner) for job in view.waiting] == [
        ("modest", "modest"),
        ("greedy-too", "greedy"),
    ]
    assert [(job.id, job.device) for job in view.running] == [("running", "cpu")]
    assert [job.cost_s for job in view.waiting] == pytest.approx([1000.0] * 2)
    assert view.waiting[1].wait_s - view.waiting[0].wait_s == pytest.approx(1000.0)
    go_on.set()


async def test_cancelling_between_sampling_and_saving_leaves_nothing(
    engine: Engine, request_for: MakeRequest, tmp_path: Path
) -> None:
    job = engine.submit(request_for())
    job.subscribe(lambda event: job.cancel() if event == Progress(3, 3) else None)
    assert (await events_of(job))[-1] == Cancelled()
    assert files_below(tmp_path / "out") == []


async def test_closing_cancels_everything_and_the_loop_goes_on(
    make_engine: MakeEngine, request_for: MakeRequest, tmp_path: Path
) -> None:
    engine = make_engine()
    running, waiting = engine.submit(request_for("a", steps=50)), engine.submit(request_for("b"))
    arrived, go_on = hold_at(running)
    await reached(arrived)
    closing = asyncio.create_task(engine.close())
    assert (await events_of(waiting))[-1] == Cancelled()
    assert not closing.done(), "the worker is still held"
    go_on.set()
    await closing
    assert (await events_of(running))[-1] == Cancelled()
    assert files_below(tmp_path / "out") == []
    assert not [thread for thread in threading.enumerate() if thread.name == "engine-cpu"]
    with pytest.raises(EngineClosed):
        engine.submit(request_for("c"))
    await engine.close()


async def test_an_engine_that_never_worked_closes(make_engine: MakeEngine) -> None:
    async with make_engine() as engine:
        assert engine.devices == ("cpu",)


async def test_submitting_from_other_threads(engine: Engine, request_for: MakeRequest) -> None:
    names = [f"job-{index}" for index in range(4)]
    jobs = await asyncio.gather(
        *(asyncio.to_thread(engine.submit, request_for(name, steps=1)) for name in names)
    )
    results = [await job.result() for job in jobs]
    assert sorted(result.path.stem for result in results) == names


async def test_bad_requests_never_become_jobs(engine: Engine, request_for: MakeRequest) -> None:
    with pytest.raises(RequestError, match="from 1 to 60"):
        engine.submit(request_for(steps=61))
    with pytest.raises(RequestError, match="Did you mean tiny-t2v"):
        engine.resolve(request_for(model="tiny-t2"))
    with pytest.raises(RequestError, match="starts from a picture"):
        engine.submit(request_for(model="tiny-i2v"))
    assert engine.resolve(request_for()).params.steps == 3


async def test_the_models_are_listed_with_their_state(
    make_engine: MakeEngine, tiny_t2v: Path, tmp_path: Path
) -> None:
    engine = make_engine(model_dirs={"good": tiny_t2v, "gone": tmp_path / "gone"})
    cards = {card.name: card for card in engine.models()}
    assert cards["good"].ready
    assert not cards["gone"].ready


# What goes wrong


async def test_a_model_that_is_not_there_fails_the_job(
    make_engine: MakeEngine, request_for: MakeRequest, tmp_path: Path
) -> None:
    engine = make_engine(model_dirs={"gone": tmp_path / "gone"})
    failed = await failure_of(engine.submit(request_for(model="gone")))
    assert failed.reason is FailureReason.MODEL_UNAVAILABLE
    assert str(tmp_path) not in failed.message


async def test_a_model_is_loaded_again_when_its_weights_change(
    make_engine: MakeEngine, request_for: MakeRequest, tiny_t2v: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_t2v, tmp_path / "model"))
    engine = make_engine(model_dirs={"mine": folder})
    before = await engine.submit(request_for(model="mine")).result()
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    whole = weights.read_bytes()

    tensors["conv_out.weight"] *= float("nan")
    save_file(tensors, weights)
    failed = await failure_of(engine.submit(request_for(model="mine")))
    assert failed.reason is FailureReason.NON_FINITE
    assert files_below(tmp_path / "out") == ["job.json", "job.mp4"]

    weights.write_bytes(whole)
    after = await engine.submit(request_for("again", model="mine")).result()
    assert after.model_revision == before.model_revision
    assert after.path.read_bytes() == before.path.read_bytes()


async def test_a_missing_encoder_is_noticed_before_sampling(
    engine: Engine, request_for: MakeRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nowhere"))
    events = await events_of(engine.submit(request_for()))
    assert [type(event) for event in events] == [Queued, Started, Failed]
    assert isinstance(events[-1], Failed)
    assert events[-1].reason is FailureReason.ENCODER_MISSING


async def test_an_encoder_that_breaks_off_fails_the_job(
    engine: Engine,
    request_for: MakeRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho 'cannot open codec' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    failed = await failure_of(engine.submit(request_for()))
    assert failed.reason is FailureReason.ENCODER_FAILED
    assert "codec" not in failed.message
    assert "cannot open codec" in caplog.text
    assert "Traceback" in caplog.text
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    assert (await engine.submit(request_for()).result()).path.is_file()


async def test_too_little_disk_space_is_noticed_before_sampling(
    make_engine: MakeEngine, request_for: MakeRequest
) -> None:
    engine = make_engine(min_free_mb=1_000_000)
    failed = await failure_of(engine.submit(request_for()))
    assert failed.reason is FailureReason.DISK_FULL


async def test_an_output_folder_that_cannot_be_made_fails_the_job(
    make_engine: MakeEngine, request_for: MakeRequest, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    engine = make_engine(output_dir=tmp_path / "file" / "out")
    failed = await failure_of(engine.submit(request_for()))
    assert failed.reason is FailureReason.INTERNAL


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"devices": ()}, "devices: name at least one"),
        ({"devices": ("tpu",)}, "devices: 'tpu' is none of"),
        ({"devices": ("cpu", "cpu")}, "devices: every device"),
        ({"devices": ("cuda:99",)}, "devices: 'cuda:99' does not exist"),
        ({"backend": "slurm"}, "backend: 'slurm' is none of local, ray"),
        ({"backend": "ray", "devices": ("cpu",)}, "devices: only for the backend"),
        ({"ray_address": "head"}, "ray_address: 'head' is none of"),
        ({"ray_workers": -1}, "ray_workers: -1 is no whole number from 0 to 1024"),
        ({"precision": "int8"}, "precision: 'int8' is none of auto, float32"),
        ({"threads": 0}, "threads: 0 is no whole number from 1 to 256"),
        ({"queue_capacity": 0}, "queue_capacity: 0"),
        ({"previews_per_job": 21}, "previews_per_job: 21"),
        ({"crf": 52}, "crf: 52 is no whole number from 0 to 51"),
        ({"min_free_mb": -1}, "min_free_mb: -1"),
        ({"max_image_pixels": 1.5}, "max_image_pixels: 1.5"),
    ],
)
def test_impossible_settings_are_refused_by_key(
    changes: dict[str, object], text: str, tmp_path: Path
) -> None:
    with pytest.raises(EngineSettingsError, match=text):
        Engine(EngineSettings(output_dir=tmp_path, **changes))  # type: ignore[arg-type]
