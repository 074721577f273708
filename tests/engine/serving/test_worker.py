"""A worker in trouble: no memory, jobs cancelled anywhere, broken models; and its status."""

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from diffusers.models.autoencoders.vae import Decoder
from torch import nn
from transformers import CLIPTextModel

from engine.models import VideoUNet
from engine.models.attention import Attention
from engine.serving import Cancelled, Failed, FailureReason, Finished, Started
from engine.serving.workers.supervisor import WorkerSupervisor
from tests.engine.serving.workbench import Blocked, Workbench, after, before


@pytest.fixture
def bench(tiny_t2v: Path, tmp_path: Path) -> Workbench:
    folder = Path(shutil.copytree(tiny_t2v, tmp_path / "models" / "tiny-t2v"))
    return Workbench({"tiny-t2v": folder, "other": tiny_t2v}, tmp_path)


class Scarce:
    """A network runs out of memory unless it is run in the way that needs least."""

    def __init__(self, *, ever: bool = True) -> None:
        self.ever = ever
        self.calls = 0

    def act(self, module: nn.Module, inputs: Any) -> None:
        self.calls += 1
        sliced = {m.backend for m in module.modules() if isinstance(m, Attention)} == {"sliced"}
        if not (sliced and self.ever):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")


def test_a_clip_without_memory_is_tried_once_more_in_the_frugal_way(bench: Workbench) -> None:
    scarce = Scarce()
    with before(VideoUNet, scarce.act), bench.worker() as worker:
        worker.start()
        first = bench.job("first")
        assert isinstance(first.end(), Finished)
        assert scarce.calls == 1 + 3
        assert isinstance(bench.job("second").end(), Finished)
        assert scarce.calls == 1 + 3 + 3, "what is known to be tight is not tried the other way"
        # Another shape begins as usual, on the same weights.
        assert isinstance(bench.job("third", steps=2).end(), Finished)
        assert scarce.calls == 1 + 3 + 3 + 1 + 2
    assert first.steps == [1, 2, 3]


def test_a_clip_that_fits_in_no_way_says_which_size_might(bench: Workbench) -> None:
    scarce = Scarce(ever=False)
    with before(VideoUNet, scarce.act), bench.worker() as worker:
        worker.start()
        large = bench.job("large", width=48).end()
        assert isinstance(large, Failed)
        assert large.reason is FailureReason.OUT_OF_MEMORY
        assert "48x32 with 4 frames" in large.message
        assert "32x32 has 67 % of the pixels and may fit" in large.message
        assert scarce.calls == 2
    assert bench.files() == []


def test_a_size_that_has_worked_is_recommended(bench: Workbench) -> None:
    with bench.worker() as worker:
        worker.start()
        assert isinstance(bench.job("small").end(), Finished)
        with before(VideoUNet, Scarce(ever=False).act):
            large = bench.job("large", width=48).end()
        assert isinstance(large, Failed)
        assert "32x32 has worked here and should fit" in large.message
        assert isinstance(bench.job("next").end(), Finished)


def test_decoding_without_memory_goes_on_frame_by_frame(bench: Workbench) -> None:
    sampled, decoded = [], []

    def act(module: nn.Module, inputs: Any) -> None:
        decoded.append(len(inputs[0]))
        if len(inputs[0]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with before(Decoder, act), before(VideoUNet, lambda *_: sampled.append(1)):
        (end,) = bench.run([bench.job("a")])
    assert isinstance(end, Finished)
    assert decoded == [4, 1, 1, 1, 1]
    assert len(sampled) == 3, "what has been sampled is not sampled again"


def test_fresh_models_are_used_when_one_has_no_memory_beside_another(bench: Workbench) -> None:
    with bench.worker() as worker:
        worker.start()
        bench.job("a", model="other").end()
        with before(VideoUNet, Scarce().act):
            assert isinstance(bench.job("b").end(), Finished)
        assert [model.name for model in worker.status().models] == ["tiny-t2v"]


@pytest.mark.parametrize("kind", [CLIPTextModel, VideoUNet, Decoder])
def test_a_job_is_cancelled_in_every_phase(bench: Workbench, kind: type[nn.Module]) -> None:
    block = Blocked()
    with before(kind, block.act), bench.worker() as worker:
        worker.start()
        seen = bench.job("a", steps=30)
        assert block.reached.wait(60)
        seen.job.cancel()
        calls = block.times
        block.go_on.set()
        assert seen.end() == Cancelled()
        assert isinstance(bench.job("b").end(), Finished)
    assert calls == 1
    assert len(seen.steps) <= 30
    assert bench.files() == ["b.json", "b.mp4"]


def test_decoding_is_broken_off_between_frames(bench: Workbench) -> None:
    seen = bench.job("a", width=48)
    frames: list[int] = []

    def act(module: nn.Module, inputs: Any) -> None:
        frames.append(len(inputs[0]))
        if len(inputs[0]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")  # so that it goes frame by frame
        seen.job.cancel()

    with before(Decoder, act):
        assert bench.run([seen]) == [Cancelled()]
    assert frames == [4, 1]


def test_loading_is_broken_off_between_networks(bench: Workbench) -> None:
    seen = bench.job("a")
    seen.job.subscribe(lambda event: seen.job.cancel() if isinstance(event, Started) else None)
    with bench.worker() as worker:
        worker.start()
        assert seen.end() == Cancelled()
        assert worker.status().models == ()
        assert isinstance(bench.job("b").end(), Finished)


def processes() -> set[psutil.Process]:
    return {child for child in psutil.Process().children(recursive=True) if child.is_running()}


def test_an_encoder_that_runs_is_killed(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo = tmp_path / "started"
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\necho x > {fifo}\nexec sleep 300\n")
    program.chmod(0o755)
    os.mkfifo(fifo)
    others = processes()
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    with bench.worker(hang_after_s=30) as worker:
        worker.start()
        seen = bench.job("a")
        assert fifo.read_text() == "x\n"  # waits for the encoder
        seen.job.cancel()
        assert seen.end() == Cancelled()
        assert processes() <= others
        monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
        assert isinstance(bench.job("b").end(), Finished)
    assert bench.files() == ["b.json", "b.mp4"]


def test_a_model_that_cannot_be_loaded_is_tried_again_when_its_files_change(
    bench: Workbench,
) -> None:
    config = bench.catalog.get("tiny-t2v").path / "vae" / "config.json"
    whole = config.read_text()
    config.write_text(whole.replace('"latent_channels": 4', '"latent_channels": 8'))
    with bench.worker() as worker:
        worker.start()
        for name in ("a", "b"):
            failed = bench.job(name).end()
            assert isinstance(failed, Failed)
            assert failed.reason is FailureReason.MODEL_UNAVAILABLE
        broken = worker.status().broken_models
        assert list(broken) == ["tiny-t2v"]
        assert "vae" in broken["tiny-t2v"]
        config.write_text(whole)
        assert isinstance(bench.job("c").end(), Finished)
        assert worker.status().broken_models == {}
        assert worker.status().failures == {FailureReason.MODEL_UNAVAILABLE: 2}


def test_models_are_loaded_before_the_first_job(bench: Workbench) -> None:
    seen = bench.job("a")
    loaded_first: list[tuple[str, ...]] = []
    with bench.worker() as worker:
        seen.job.subscribe(
            lambda event: (
                loaded_first.append(tuple(model.name for model in worker.status().models))
                if isinstance(event, Started)
                else None
            )
        )
        assert worker.status().state == "starting"
        worker.warm_up([bench.catalog.get("other"), bench.catalog.get("tiny-t2v")])
        worker.start()
        assert isinstance(seen.end(), Finished)
        with pytest.raises(RuntimeError, match="before start"):
            worker.warm_up([])
    assert loaded_first == [("other", "tiny-t2v")]


def test_a_model_that_cannot_be_warmed_up_stops_nobody(
    bench: Workbench, caplog: pytest.LogCaptureFixture
) -> None:
    card = bench.catalog.get("tiny-t2v")
    (card.path / "unet" / "config.json").write_text("{")
    with bench.worker() as worker:
        worker.warm_up([card, bench.catalog.get("other")])
        worker.start()
        assert isinstance(bench.job("a", model="other").end(), Finished)
        assert list(worker.status().broken_models) == ["tiny-t2v"]
    assert "tiny-t2v cannot be loaded" in caplog.text


def test_the_status_tells_what_is_being_done(bench: Workbench) -> None:
    block = Blocked()
    with before(VideoUNet, block.act), bench.worker() as worker:
        worker.start()
        seen = bench.job("a")
        assert block.reached.wait(60)
        status = worker.status()
        assert (status.device, status.state, status.jobs) == ("cpu", "rendering", ("a",))
        assert status.phase == "beginning to sample"
        (model,) = status.models
        assert (model.name, model.bytes > 100_000) == ("tiny-t2v", True)
        assert 0 < status.memory_free_bytes < status.memory_total_bytes
        block.go_on.set()
        seen.end()
        bench.job("b").end()
        assert worker.status().jobs_done == 2
    assert worker.status().state == "stopped"


def test_listeners_that_raise_and_networks_that_raise_end_only_their_job(
    bench: Workbench, caplog: pytest.LogCaptureFixture
) -> None:
    def boom(output: Any) -> None:
        raise ZeroDivisionError("in a network")

    with bench.worker() as worker:
        worker.start()
        with after(VideoUNet, boom):
            failed = bench.job("a").end()
        assert isinstance(failed, Failed)
        assert failed.reason is FailureReason.INTERNAL
        assert isinstance(bench.job("b").end(), Finished)
    assert "in a network" in caplog.text


def test_a_worker_without_work_ends(bench: Workbench) -> None:
    earlier = set(threading.enumerate())
    worker = WorkerSupervisor("cpu", bench.queue, bench.settings())
    worker.start()
    bench.queue.close()
    worker.join()
    assert set(threading.enumerate()) <= earlier
