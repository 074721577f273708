"""The engine: takes requests from any thread and makes one clip after another on every device."""

from __future__ import annotations

import asyncio
import logging
import threading
from types import TracebackType
from typing import Self

import torch

from engine.checkpoints.catalog import Catalog, ModelCard
from engine.serving.errors import EngineSettingsError
from engine.serving.job import Job
from engine.serving.jobqueue import JobQueue
from engine.serving.memory import ignored_options
from engine.serving.requests import GenerationRequest, ResolvedSettings, resolve
from engine.serving.settings import EngineSettings
from engine.serving.worker import Worker

logger = logging.getLogger(__name__)


class Engine:
    """A queue of jobs and one worker thread per device.

    The threads start with the first job. Use it as an asynchronous context manager, or call
    :meth:`close`.

    Raises:
        EngineSettingsError: a device of the settings does not exist on this machine.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._catalog = Catalog(
            settings.model_dirs,
            models_dir=settings.models_dir,
            variants=settings.model_variants,
        )
        self._queue = JobQueue(settings.queue_capacity)
        self._devices = _devices(settings.devices)
        _tell_ignored_options(settings, self._devices)
        self._workers: tuple[Worker, ...] = ()
        self._start_lock = threading.Lock()

    @property
    def devices(self) -> tuple[str, ...]:
        """The torch devices that clips are made on."""
        return self._devices

    def models(self) -> tuple[ModelCard, ...]:
        """Every known model, ready or not, as the disk has them now.

        The first call reads all weight files once; later ones only look for changes.
        """
        return self._catalog.cards()

    def validate(self, request: GenerationRequest) -> ResolvedSettings:
        """The complete settings of a request, with the model's defaults.

        Raises:
            RequestError: names the field and what is allowed.
        """
        return resolve(request, self._catalog, max_image_pixels=self._settings.max_image_pixels)

    def submit(self, request: GenerationRequest) -> Job:
        """Queue a request. May be called from any thread; does not wait for the clip.

        Raises:
            RequestError: the request is refused (a QueueFullError when too many jobs wait).
            EngineClosed: after close().
        """
        job = Job(request, self.validate(request), on_cancel=self._queue.discard)
        self._queue.put(job)
        self._start_workers()
        return job

    async def close(self) -> None:
        """Cancel what waits and runs, and wait until the workers have ended. Idempotent.

        A running job ends within one step; the event loop goes on meanwhile.
        """
        self._queue.close()
        with self._start_lock:
            workers = self._workers
        for worker in workers:
            await asyncio.to_thread(worker.join)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _start_workers(self) -> None:
        with self._start_lock:
            if self._workers:
                return
            self._workers = tuple(
                Worker(device, self._queue, self._settings) for device in self._devices
            )
            for worker in self._workers:
                worker.start()
        logger.info("the engine works on %s", ", ".join(self._devices))


def _tell_ignored_options(settings: EngineSettings, devices: tuple[str, ...]) -> None:
    """One line for each model and device that shall do what the device cannot."""
    for device in devices:
        for model, options in settings.model_options.items():
            if ignored := ignored_options(options, device):
                logger.warning(
                    "the options of the model %s: %s needs a CUDA GPU and is ignored on %s",
                    model,
                    " and ".join(ignored),
                    device,
                )


def _devices(wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    """The devices to work on; None is every GPU, or else the CPU."""
    gpus = torch.cuda.device_count()
    if wanted is None:
        return tuple(f"cuda:{index}" for index in range(gpus)) or ("cpu",)
    for device in wanted:
        kind, _, index = device.partition(":")
        if kind == "cuda" and int(index or 0) >= gpus:
            raise EngineSettingsError("devices", f"{device!r} does not exist; GPUs found: {gpus}")
        if kind == "mps" and not torch.backends.mps.is_available():
            raise EngineSettingsError("devices", "'mps' is not available on this machine")
    return wanted
