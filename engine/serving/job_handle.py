"""Job handle: held by the submitter while a worker makes the clip."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable

from engine.serving.errors import JobCancelled, JobFailed
from engine.serving.events import (
    Cancelled,
    Event,
    Failed,
    Finished,
    GenerationResult,
    Queued,
    Started,
    Terminal,
)
from engine.serving.request import ResolvedSettings

logger = logging.getLogger(__name__)

_WAIT_NEWS_S = 5.0
_WAIT_NEWS = 0.1
"""A waiting time is news when it has changed by so many seconds and by this part of it."""

Listener = Callable[[Event], None]


class _Subscription:
    """A listener and how many events it has been given."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.delivered = 0


class JobHandle:
    """One queued, running or ended request. Every method may be called from any thread.

    Events are kept, in order, so that whoever subscribes late misses nothing. Exactly one terminal
    event is published, and nothing after it.

    Attributes:
        id: its name, also of its files.
        settings: its parameters, complete, and its model.
        owner: on whose share of the devices it counts.
        weight: of the owner's share.
        begun: a process that ended had begun it already, so it goes first.
    """

    def __init__(
        self,
        job_id: str,
        settings: ResolvedSettings,
        on_cancel: Callable[[JobHandle], None],
        *,
        owner: str = "",
        weight: float = 1.0,
        begun: bool = False,
    ) -> None:
        self.id = job_id
        self.settings = settings
        self.owner = owner
        self.weight = weight
        self.begun = begun
        self._on_cancel = on_cancel
        self._cancel_requested = threading.Event()
        # Re-entrant: a listener may call cancel(), which may publish.
        self._lock = threading.RLock()
        self._events: list[Event] = []
        self._subscriptions: list[_Subscription] = []
        self._delivering = False
        self._position_version = -1
        self._device: str | None = None
        self._hurry: Callable[[], None] = _nothing

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` for every event, first for those that have already happened.

        It is called by the thread that publishes (a worker's as a rule), so it must be quick. What
        it raises is logged and otherwise ignored.

        Returns:
            A function that ends the subscription.
        """
        subscription = _Subscription(listener)
        with self._lock:
            self._subscriptions.append(subscription)
            self._deliver()

        def unsubscribe() -> None:
            with self._lock:
                if subscription in self._subscriptions:
                    self._subscriptions.remove(subscription)

        return unsubscribe

    def __aiter__(self) -> AsyncGenerator[Event]:
        return self.events()

    async def events(self) -> AsyncGenerator[Event]:
        """All events from the first on; ends after the terminal one."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Event] = asyncio.Queue()

        def hand_over(event: Event) -> None:
            try:
                loop.call_soon_threadsafe(arrived.put_nowait, event)
            except RuntimeError:
                # The loop has been closed under an abandoned iterator: nobody is left to tell.
                logger.debug("job %s: the listening event loop is closed", self.id)

        unsubscribe = self.subscribe(hand_over)
        try:
            while True:
                event = await arrived.get()
                yield event
                if isinstance(event, Terminal):
                    return
        finally:
            unsubscribe()

    async def result(self) -> GenerationResult:
        """Wait for the clip.

        Raises:
            JobFailed: with the reason and a sentence for the user.
            JobCancelled: the job was cancelled or the engine closed.
        """
        async for event in self.events():
            match event:
                case Finished(result):
                    return result
                case Failed(reason, message, detail):
                    raise JobFailed(reason, message, detail)
                case Cancelled():
                    raise JobCancelled(f"job {self.id} was cancelled")
                case _:
                    pass
        raise AssertionError("a job's events end with a terminal one")

    def cancel(self) -> None:
        """End the job: at once when it waits, within one step when it runs; else do nothing."""
        self._cancel_requested.set()
        self._on_cancel(self)
        self._hurry()

    def when_cancelled(self, call: Callable[[], None]) -> None:
        """Call this as soon as the job shall be cancelled, instead of what was given before.

        For workers that cannot look at ``cancel_requested`` all the time. It is called by the
        thread that cancels, so it must be quick; perhaps twice; and at once when it is too late.
        """
        self._hurry = call
        if self.cancel_requested:
            call()

    @property
    def cancel_requested(self) -> bool:
        """True when the worker should stop at the next occasion."""
        return self._cancel_requested.is_set()

    @property
    def ended(self) -> bool:
        """True when the terminal event has been published."""
        with self._lock:
            return self._ended()

    @property
    def device(self) -> str | None:
        """The torch device that it was started on last; None before that."""
        # Without the lock: the queue asks while it holds its own, and a listener may hold it long.
        return self._device

    def publish(self, event: Event) -> None:
        """Record an event and tell the listeners; ignored after a terminal event.

        For the engine's own parts: users of a job only listen.
        """
        with self._lock:
            if not self._ended():
                self._events.append(event)
                if isinstance(event, Started):
                    self._device = event.device
                self._deliver()

    def publish_position(self, place: Queued, version: int) -> None:
        """Publish a place in the queue, unless a newer one, or more than that, is known.

        ``version`` grows with every change of the queue, so that two threads which report
        places at the same time cannot leave the older one standing. A waiting time that is nearly
        the same is not worth an event: a job keeps all it has had.
        """
        with self._lock:
            newest = self._events[-1] if self._events else None
            if (newest is None or isinstance(newest, Queued)) and version > self._position_version:
                self._position_version = version
                if newest is None or _is_news(newest, place):
                    self.publish(place)

    def _ended(self) -> bool:
        return bool(self._events) and isinstance(self._events[-1], Terminal)

    def _deliver(self) -> None:
        """Bring every subscription up to date. The lock is held, and keeps the order."""
        if self._delivering:  # called by a listener: the outer call will go on
            return
        self._delivering = True
        try:
            while behind := [s for s in self._subscriptions if s.delivered < len(self._events)]:
                for subscription in behind:
                    event = self._events[subscription.delivered]
                    subscription.delivered += 1
                    self._call(subscription.listener, event)
        finally:
            self._delivering = False

    def _call(self, listener: Listener, event: Event) -> None:
        try:
            listener(event)
        except Exception:  # a listener's fault must not end the worker
            logger.exception("job %s: a listener failed on %s", self.id, type(event).__name__)


Job = JobHandle
"""The shorter name, for whoever submits jobs."""


def _nothing() -> None:
    """Call nobody."""


def _is_news(known: Queued, place: Queued) -> bool:
    if known.position != place.position or known.wait_s is None or place.wait_s is None:
        return known != place
    return abs(place.wait_s - known.wait_s) > max(_WAIT_NEWS_S, _WAIT_NEWS * known.wait_s)
