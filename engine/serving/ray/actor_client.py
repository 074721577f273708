"""Actor client: the engine's side of one actor."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, cast

from engine.checkpoints.catalog import ModelCard
from engine.serving.backends import BackendRegistry
from engine.serving.ray.actor import CALLS_AT_ONCE, RenderActor
from engine.serving.ray.cluster import ClusterError, RayCluster
from engine.serving.ray.protocol import JobOrder, WorkerInfo, WorkerUpdate
from engine.settings import EngineSettings

logger = logging.getLogger(__name__)

UPDATE_EVERY_S: Final = 2.0
"""An actor that has nothing to tell says so after so long."""

_LOOK_EVERY_S: Final = 0.5
_ANSWER_S: Final = 60.0
_END_S: Final = 60.0
_TELL_AFTER_S: Final = 60.0

Stop = Callable[[], bool]


class ActorClient:
    """Asks for an actor and talks to it until it is lost or ended.

    Args:
        cluster: the connection to the cluster.
        kind: the actor's class.
        settings: the engine's.
        warm_up: models that the actor loads first.
        backends: the model families.

    Raises:
        ClusterError: the cluster is gone.
    """

    def __init__(
        self,
        cluster: RayCluster,
        kind: type[RenderActor],
        settings: EngineSettings,
        warm_up: Sequence[ModelCard],
        backends: BackendRegistry,
    ) -> None:
        self._cluster = cluster
        self._silence_s = settings.hang_after_s + UPDATE_EVERY_S
        on_gpu = cluster.gpus() > 0
        self._actor = cluster.start(
            kind,
            (settings, on_gpu, tuple(warm_up), backends),
            {
                "num_gpus": 1 if on_gpu else 0,
                "num_cpus": 1 if on_gpu else settings.threads or 1,
                "max_concurrency": CALLS_AT_ONCE,
                "scheduling_strategy": "SPREAD",
            },
        )
        self._dead_reason: str | None = None

    def wait_until_up(self, name: str, stop: Stop) -> WorkerInfo | None:
        """Wait for the actor's process, which may have to wait for a place in the cluster.

        Args:
            name: for the log.
            stop: asked twice a second whether to go on waiting no more.

        Returns:
            The actor's machine and device; None: stopped.

        Raises:
            ClusterError: it could not be started.
        """
        reference = self._cluster.call(self._actor, "info")
        began, told = time.monotonic(), False
        while not self._cluster.arrived(reference, _LOOK_EVERY_S):
            if stop():
                return None
            if not told and time.monotonic() > began + _TELL_AFTER_S:
                told = True
                logger.warning(
                    "%s is not up after %.0f s: there may be no free place in the Ray cluster",
                    name,
                    _TELL_AFTER_S,
                )
        return cast(WorkerInfo, self._cluster.get(reference, _ANSWER_S))

    def run(self, orders: Sequence[JobOrder], stop: Stop) -> Iterator[WorkerUpdate]:
        """Send a batch; returns when the actor has it, with what happens to it from then on.

        Args:
            orders: jobs of one batch key.
            stop: asked twice a second whether to listen no more.

        Raises:
            ClusterError: the actor is lost; also while one listens.
        """
        self._cluster.get(self._cluster.call(self._actor, "take", tuple(orders)), _ANSWER_S)
        return self._updates(stop)

    def cancel(self, job_ids: Sequence[str]) -> None:
        """Let jobs be cancelled; does not wait for it. Raises ClusterError."""
        self._cluster.call(self._actor, "cancel", tuple(job_ids))

    def update(self, wait_s: float, stop: Stop) -> WorkerUpdate | None:
        """Ask the actor what has happened since the last time.

        Args:
            wait_s: the actor waits so long for something to happen.
            stop: asked twice a second whether to listen no more.

        Returns:
            The update; None: stopped.

        Raises:
            ClusterError: the actor is lost: it has died, is silent, or has been marked as dead.
        """
        reference = self._cluster.call(self._actor, "update", wait_s)
        began = time.monotonic()
        while not self._cluster.arrived(reference, _LOOK_EVERY_S):
            if stop():
                return None
            if self._dead_reason is not None:
                raise ClusterError(self._dead_reason)
            if time.monotonic() > began + self._silence_s:
                raise ClusterError(f"no answer for {self._silence_s:.0f} s")
        return cast(WorkerUpdate, self._cluster.get(reference, _ANSWER_S))

    def _updates(self, stop: Stop) -> Iterator[WorkerUpdate]:
        while (update := self.update(UPDATE_EVERY_S, stop)) is not None:
            yield update

    def mark_dead(self, reason: str) -> None:
        """Let whoever listens next give the actor up."""
        self._dead_reason = reason

    def end(self) -> None:
        """End the actor gracefully, or else by force."""
        try:
            self._cluster.get(self._cluster.call(self._actor, "end"), _END_S)
        except ClusterError as error:
            logger.warning("an actor did not end by itself: %s", error)
        self.kill()

    def kill(self) -> None:
        """End the actor's process; it may be gone already."""
        try:
            self._cluster.kill(self._actor)
        except ClusterError as error:
            logger.debug("an actor could not be killed: %s", error)
