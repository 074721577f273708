"""Worker pools: all the workers of an engine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from engine.checkpoints.catalog import ModelCard
from engine.serving.backends import BackendRegistry
from engine.serving.backends.options import ignored_options, is_slow
from engine.serving.scheduling.costs import DeviceCosts
from engine.serving.scheduling.scheduler import JobQueue
from engine.serving.status import WorkerStatus
from engine.serving.workers.devices import device_kind, local_devices
from engine.serving.workers.supervisor import WorkerSupervisor
from engine.settings import EngineSettings

logger = logging.getLogger(__name__)


class WorkerPool(Protocol):
    """Takes jobs from one queue until that is closed, each of its workers on a device."""

    @property
    def devices(self) -> tuple[str, ...]:
        """The names of the devices, as they stand in `Started`."""

    def kind_of(self, device: str) -> str:
        """Return the kind of a device; devices of one kind are equally fast."""

    def warm_up(self, models: Sequence[ModelCard]) -> None:
        """Let each worker load these before its first job. Before start()."""

    def start(self) -> None:
        """Begin to take jobs; at once or a little later."""

    def join(self) -> None:
        """Wait for the end; the queue must have been closed, and the pool started."""

    def status(self) -> tuple[WorkerStatus, ...]:
        """Return the state of each worker. May be called from any thread."""


class LocalWorkerPool:
    """One worker for each device of this machine.

    Raises:
        EngineSettingsError: a device of the settings does not exist here.
    """

    def __init__(
        self,
        settings: EngineSettings,
        queue: JobQueue,
        costs: DeviceCosts,
        backends: BackendRegistry,
    ) -> None:
        self._devices = local_devices(settings.devices)
        for device in self._devices:
            costs.set_kind(device, device_kind(device))
        _tell_ignored_options(settings, self._devices)
        self._workers = tuple(
            WorkerSupervisor(device, queue, settings, backends=backends) for device in self._devices
        )

    @property
    def devices(self) -> tuple[str, ...]:
        """Torch device names."""
        return self._devices

    def kind_of(self, device: str) -> str:
        """A GPU's model, else the device's type."""
        return device_kind(device)

    def warm_up(self, models: Sequence[ModelCard]) -> None:
        """See `WorkerPool`."""
        for worker in self._workers:
            worker.warm_up(models)

    def start(self) -> None:
        """See `WorkerPool`."""
        for worker in self._workers:
            worker.start()
        logger.info("the engine works on %s", ", ".join(self._devices))

    def join(self) -> None:
        """See `WorkerPool`."""
        for worker in self._workers:
            worker.join()

    def status(self) -> tuple[WorkerStatus, ...]:
        """See `WorkerPool`."""
        return tuple(worker.status() for worker in self._workers)


def _tell_ignored_options(settings: EngineSettings, devices: tuple[str, ...]) -> None:
    """Log one line for each model and device that shall do what the device cannot."""
    for device in devices:
        for model, options in settings.model_options.items():
            if is_slow(settings.options_of(model), device):
                logger.warning(
                    "the options of the model %s: precision float16 is slower than float32 on %s",
                    model,
                    device,
                )
            if ignored := ignored_options(options, device):
                logger.warning(
                    "the options of the model %s: %s needs a CUDA GPU and is ignored on %s",
                    model,
                    " and ".join(ignored),
                    device,
                )
