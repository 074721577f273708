"""What people are told when something raises, and what memory and time trouble leads to."""

import errno
import logging
from pathlib import Path

import pytest
import torch

from engine.checkpoints import Catalog, ModelLoadError, load_pipeline
from engine.serving import FailureReason
from engine.serving.backends.videocrafter import VideoCrafterModel
from engine.serving.execution.failures import DiskFullError, NonFiniteError, failure_of
from engine.serving.execution.pipeline_cache import PipelineCache
from engine.serving.execution.previews import COST_SHARE, PreviewMaker
from engine.serving.media.mp4 import EncodeError, EncoderMissingError
from engine.settings import ModelOptions

CPU_ALLOCATOR = "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"


def plainly(name: str) -> ModelOptions:
    return ModelOptions()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), FailureReason.OUT_OF_MEMORY),
        (MemoryError(), FailureReason.OUT_OF_MEMORY),
        (RuntimeError(CPU_ALLOCATOR), FailureReason.OUT_OF_MEMORY),
        (ModelLoadError("/secret/unet cannot be loaded."), FailureReason.MODEL_UNAVAILABLE),
        (EncoderMissingError("/secret/ffmpeg"), FailureReason.ENCODER_MISSING),
        (OSError(errno.ENOSPC, "No space", "/secret"), FailureReason.DISK_FULL),
        (OSError(errno.EDQUOT, "Quota", "/secret"), FailureReason.DISK_FULL),
        (DiskFullError("3 MiB are free in /secret"), FailureReason.DISK_FULL),
        (NonFiniteError("frames"), FailureReason.NON_FINITE),
        (PermissionError(errno.EACCES, "denied", "/secret"), FailureReason.INTERNAL),
        (EncodeError("/secret: code 1"), FailureReason.ENCODER_FAILED),
        (RuntimeError("shape '[2, 3]' is invalid"), FailureReason.INTERNAL),
    ],
)
def test_every_fault_has_its_reason(
    error: Exception, reason: FailureReason, caplog: pytest.LogCaptureFixture
) -> None:
    failed = failure_of(error, "job-1")
    assert failed.reason is reason
    assert failed.message.endswith(".")
    assert "secret" not in failed.message, "paths are for the operator"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "job-1" in caplog.text
    if "/secret" in str(error):
        assert "/secret" in caplog.text


def test_memory_that_cannot_be_had_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert failure_of(caught.value, "job").reason is FailureReason.OUT_OF_MEMORY


def test_loaded_models_are_kept(tiny_t2v: Path) -> None:
    models, card = PipelineCache("cpu", plainly), Catalog({"a": tiny_t2v}).get("a")
    assert models.get(card) is models.get(card)


def test_other_models_make_room_when_memory_runs_out(
    tiny_t2v: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog({"a": tiny_t2v, "b": tiny_t2v})
    models = PipelineCache("cpu", plainly)
    first = models.get(catalog.get("a"))
    attempts = 0

    def short_of_memory(*args: object, **kwargs: object) -> object:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return load_pipeline(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("engine.serving.backends.videocrafter.load_pipeline", short_of_memory)
    second = models.get(catalog.get("b"))
    assert attempts == 2
    assert models.get(catalog.get("b")) is second
    assert models.get(catalog.get("a")) is not first, "it was let go"


class Clock:
    """A clock that moves when it is told to, and a bit whenever it is read."""

    def __init__(self, per_reading: float) -> None:
        self.now = 0.0
        self._per_reading = per_reading

    def __call__(self) -> float:
        self.now += self._per_reading
        return self.now


@pytest.fixture(scope="module")
def model(tiny_t2v: Path) -> VideoCrafterModel:
    return VideoCrafterModel(load_pipeline(Catalog({"a": tiny_t2v}).get("a")))


def previews_of(model: VideoCrafterModel, clock: Clock, step_s: float) -> list[int]:
    """The steps of 50 that have a preview when a step takes step_s."""
    maker = PreviewMaker(model.preview, 50, 10, clock)
    latents = torch.randn(1, 4, 4, 8, 8)
    steps = []
    for step in range(1, 51):
        clock.now += step_s
        if maker.after_step(step, latents) is not None:
            steps.append(step)
    return steps


def test_cheap_previews_come_at_even_distances(model: VideoCrafterModel) -> None:
    assert previews_of(model, Clock(0.001), step_s=1.0) == [1, 6, 11, 16, 21, 26, 31, 36, 41, 46]


def test_dear_previews_take_their_share_only(model: VideoCrafterModel) -> None:
    cost = 2.0
    clock = Clock(cost)  # a preview takes the time between two readings
    steps = previews_of(model, clock, step_s=1.0)
    assert steps[0] == 1
    further = len(steps) - 1
    assert 1 <= further < 9
    assert further * cost <= COST_SHARE * clock.now


def test_a_preview_that_fails_ends_the_previews_only(
    model: VideoCrafterModel, caplog: pytest.LogCaptureFixture
) -> None:
    maker = PreviewMaker(model.preview, 50, 50, Clock(0.0))
    assert maker.after_step(1, torch.randn(1, 3, 4, 8, 8)) is None  # three channels do not fit
    assert maker.after_step(2, torch.randn(1, 4, 4, 8, 8)) is None
    assert len(caplog.records) == 1
