"""Ray worker pool: the workers of an engine whose clips are made in a Ray cluster."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Final

from engine.checkpoints.catalog import ModelCard
from engine.serving.backends import BackendRegistry
from engine.serving.ray.actor import RenderActor
from engine.serving.ray.actor_client import ActorClient
from engine.serving.ray.backoff import ActorBackoff
from engine.serving.ray.cluster import ClusterError, RayCluster, require_ray
from engine.serving.ray.crash_counter import CrashCounter
from engine.serving.ray.protocol import WorkerInfo
from engine.serving.ray.worker import RayWorker
from engine.serving.scheduling.costs import DeviceCosts
from engine.serving.scheduling.scheduler import JobQueue
from engine.serving.status import WorkerStatus
from engine.settings import EngineSettings

logger = logging.getLogger(__name__)

_UNKNOWN: Final = "ray"
"""The kind of a device that nobody has heard of yet."""


class RayWorkerPool:
    """One worker for each actor. A cluster that cannot be reached is tried again and again.

    Args:
        settings: the engine's.
        queue: where the jobs come from.
        costs: is told what the devices are.
        backends: the model families.
        kind: the actors' class.

    Raises:
        EngineSettingsError: Ray is not installed.
    """

    def __init__(
        self,
        settings: EngineSettings,
        queue: JobQueue,
        costs: DeviceCosts,
        backends: BackendRegistry,
        kind: type[RenderActor] = RenderActor,
    ) -> None:
        require_ray()
        self._settings = settings
        self._queue = queue
        self._costs = costs
        self._backends = backends
        self._kind = kind
        self._kinds: dict[str, str] = {}
        self._workers: tuple[RayWorker, ...] = ()
        self._warm_up: tuple[ModelCard, ...] = ()
        self._problem: str | None = None
        self._closing = threading.Event()
        # It lives until the connection is closed, as `RayCluster` asks.
        self._thread = threading.Thread(target=self._run, name="engine-ray", daemon=True)
        self._name_devices(settings.ray_workers or 1)

    @property
    def devices(self) -> tuple[str, ...]:
        """Named ray:0, ray:1, …; one only, as long as it is not known how many there will be."""
        return tuple(self._kinds)

    def kind_of(self, device: str) -> str:
        """A GPU's model, "cpu", or "ray" as long as it is not known."""
        return self._kinds.get(device, _UNKNOWN)

    def warm_up(self, models: Sequence[ModelCard]) -> None:
        """See `WorkerPool`."""
        self._warm_up = tuple(models)

    def start(self) -> None:
        """See `WorkerPool`; does not wait for the cluster."""
        self._thread.start()

    def join(self) -> None:
        """See `WorkerPool`; a cluster of our own has ended then."""
        self._closing.set()
        self._thread.join()

    def status(self) -> tuple[WorkerStatus, ...]:
        """See `WorkerPool`."""
        if self._workers:
            return tuple(worker.status() for worker in self._workers)
        return tuple(
            WorkerStatus(device=device, state="starting", phase=self._problem)
            for device in self.devices
        )

    def _run(self) -> None:
        cluster = RayCluster(self._settings.ray_address)
        count = self._open(cluster)
        if count is None:
            return
        try:
            self._name_devices(count)
            crashes = CrashCounter()
            self._workers = tuple(
                RayWorker(
                    name,
                    self._queue,
                    self._settings,
                    lambda models: ActorClient(
                        cluster, self._kind, self._settings, models, self._backends
                    ),
                    crashes,
                    self._on_info,
                )
                for name in self.devices
            )
            for worker in self._workers:
                worker.warm_up(self._warm_up)
                worker.start()
            self._closing.wait()
            for worker in self._workers:
                worker.join()
        finally:
            cluster.close()

    def _open(self, cluster: RayCluster) -> int | None:
        """Connect, however long it takes; returns how many workers there are, None at the end."""
        backoff = ActorBackoff()
        while not self._closing.is_set():
            try:
                cluster.open()
                return self._settings.ray_workers or cluster.gpus() or 1
            except ClusterError as error:
                cluster.close()
                if str(error) != self._problem:
                    logger.error("the Ray cluster cannot be reached: %s", error)
                self._problem = str(error)
            self._closing.wait(backoff.pause_s())
        return None

    def _name_devices(self, count: int) -> None:
        for index in range(count):
            self._on_kind(f"ray:{index}", _UNKNOWN)

    def _on_info(self, name: str, info: WorkerInfo) -> None:
        self._on_kind(name, info.kind)

    def _on_kind(self, name: str, kind: str) -> None:
        self._kinds = {**self._kinds, name: kind}
        self._costs.set_kind(name, kind)
