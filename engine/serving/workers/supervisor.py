"""One device's worker: a thread that makes clips, and another that replaces it when it hangs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from engine.checkpoints.catalog import ModelCard
from engine.serving.execution.model_memory import device_memory
from engine.serving.execution.watchdog import Durations, Watch
from engine.serving.status import Tally, WorkerStatus
from engine.serving.workers.job_source import Source
from engine.serving.workers.worker_thread import Hand
from engine.settings import EngineSettings

logger = logging.getLogger(__name__)

MOST_LOST: Final = 2
"""So many threads of a device may hang before no other is started."""

_CLOSING_PATIENCE_S: Final = 20.0
"""At the end nobody waits longer than this for a thread that gives no sign of life."""

_PAUSE_AFTER_CRASH_S: Final = 1.0
_LOOK_EVERY_S: Final = 2.0


class Worker:
    """Takes jobs until the queue is closed.

    Whatever a job raises ends that job, never the worker. When a job hangs it fails, and another
    thread with models of its own goes on with the next: the hung one cannot be killed, and keeps
    its memory until it comes back. When too many hang at once, no further one is started until one
    of them has come back.

    Args:
        device: a torch device name; its models are loaded by this worker and stay with it.
        queue: where the jobs come from; shared with the workers of other devices.
        settings: the engine's.
        clock: seconds that never run backwards, by which it is told that a thread hangs.
    """

    def __init__(
        self,
        device: str,
        queue: Source,
        settings: EngineSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device = device
        self._queue = queue
        self._settings = settings
        self._clock = clock
        self._tally = Tally()
        self._durations = Durations()
        self._warm_up: tuple[ModelCard, ...] = ()
        self._lock = threading.Lock()
        self._hand: Hand | None = None
        self._replaced = 0
        self._started = False
        self._closing = threading.Event()
        self._supervisor: threading.Thread | None = None
        self._interval_s = min(max(settings.hang_after_s / 4, 0.05), _LOOK_EVERY_S)

    def warm_up(self, models: Sequence[ModelCard]) -> None:
        """Load models before the first job is taken, as far as memory allows, in this order.

        One that cannot be loaded is logged, and met again by the first job that needs it. To be
        called before start().
        """
        if self._started:
            raise RuntimeError("warm_up: before start()")
        self._warm_up = tuple(models)

    def start(self) -> None:
        """Begin to take jobs."""
        self._supervisor = threading.Thread(
            target=self._supervise,
            args=(self._start_hand(self._warm_up),),
            name=f"engine-{self._device}-watchdog",
            daemon=True,
        )
        self._supervisor.start()

    def join(self) -> None:
        """Wait for the end; the queue must have been closed."""
        self._closing.set()
        if self._supervisor is not None:
            self._supervisor.join()

    def status(self) -> WorkerStatus:
        """What it is doing. May be called from any thread."""
        with self._lock:
            hand, replaced, started = self._hand, self._replaced, self._started
        free, total = device_memory(self._device)
        known = WorkerStatus(
            device=self._device,
            state="stuck" if started else "starting",
            jobs_done=self._tally.done,
            failures=self._tally.failures,
            replaced=replaced,
            memory_free_bytes=free,
            memory_total_bytes=total,
        )
        if hand is None:
            return known
        return replace(
            known,
            state=hand.state,
            phase=hand.phase,
            jobs=tuple(job.id for job in hand.jobs),
            models=hand.models.loaded,
            broken_models=hand.models.broken,
            broken_revisions=hand.models.broken_revisions,
        )

    def _start_hand(self, warm_up: Sequence[ModelCard] = ()) -> Hand:
        hand = Hand(
            self._device,
            self._queue,
            self._settings,
            self._tally,
            Watch(self._settings.hang_after_s, self._durations, self._clock),
            warm_up,
        )
        with self._lock:
            self._started = True
            self._hand = hand
        hand.start()
        return hand

    def _supervise(self, hand: Hand) -> None:
        """Replace the thread whenever it hangs or crashes, until the queue is closed."""
        lost: list[Hand] = []
        while True:
            if hand.ended(self._interval_s):
                if not hand.crashed or self._closing.wait(_PAUSE_AFTER_CRASH_S):
                    return
            elif hand.give_up(_CLOSING_PATIENCE_S if self._closing.is_set() else None):
                lost.append(hand)
                with self._lock:
                    self._hand = None
                    self._replaced += 1
                if not self._may_go_on(lost):
                    return
            else:
                continue
            hand = self._start_hand()

    def _may_go_on(self, lost: list[Hand]) -> bool:
        """Whether another thread may be started; waits for that if too many hang."""
        told = False
        while True:
            lost[:] = [hand for hand in lost if hand.alive]
            if len(lost) < MOST_LOST or self._closing.is_set():
                return not self._closing.is_set()
            if not told:
                told = True
                logger.critical(
                    "%d threads of %s hang; it takes no more jobs until one of them comes back",
                    len(lost),
                    self._device,
                )
            self._closing.wait(self._interval_s)
