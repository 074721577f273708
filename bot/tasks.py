"""Own the tasks that outlive the call that caused them."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

logger = logging.getLogger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]


class TaskSupervisor:
    """Runs coroutines on the bot's loop on behalf of any thread, and ends them all in `close`.

    Work starts in the order of the calls and in a context of its own, not in that of whichever
    interaction or worker thread happened to ask for it: it may go on long after that is over.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.Context()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[int, asyncio.TimerHandle] = {}
        # A Context cannot be entered by two threads at once.
        self._entering = threading.Lock()
        self._closed = False

    def open(self) -> None:
        """Take the running loop as the one to work on."""
        self._loop = asyncio.get_running_loop()

    def use_context(self, context: contextvars.Context) -> None:
        """Start later work in copies of `context` (where a simulated Discord keeps its clock)."""
        self._context = context

    @property
    def closed(self) -> bool:
        """True once the end has begun: nothing is started any more."""
        return self._closed

    def submit(self, work: Work) -> None:
        """Start `work()` soon; callable from any thread. After `close` it is dropped."""
        loop = self._loop
        if self._closed or loop is None:
            return
        with self._entering:
            context = self._context.copy()
        try:
            context.run(loop.call_soon_threadsafe, self._start, work)
        except RuntimeError:
            # The loop was closed between the check and the call: the process is ending.
            logger.debug("the loop is closed; work was dropped")

    async def run(self, work: Work) -> None:
        """Run `work()` to its end, even if the caller is cancelled. Call from the loop's thread.

        After `close` it is dropped. Raises CancelledError if `close` ends it.
        """
        if self._closed or self._loop is None:
            return
        with self._entering:
            context = self._context.copy()
        await asyncio.shield(context.run(self._task, work))

    def submit_later(self, delay_s: float, work: Work) -> Callable[[], None]:
        """Start `work()` in `delay_s` seconds. Call from the loop's thread; returns a canceller."""
        loop = asyncio.get_running_loop()
        key = 0

        def due() -> None:
            self._timers.pop(key, None)
            self.submit(work)

        def cancel() -> None:
            if (timer := self._timers.pop(key, None)) is not None:
                timer.cancel()

        if self._closed:
            return cancel
        handle = loop.call_later(delay_s, due)
        key = id(handle)
        self._timers[key] = handle
        return cancel

    async def close(self) -> None:
        """Cancel what runs and wait until it has ended. May be called again."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        while self._tasks:
            tasks = tuple(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, work: Work) -> None:
        if self._closed or self._loop is None:
            return
        self._task(work)

    def _task(self, work: Work) -> asyncio.Task[None]:
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @staticmethod
    async def _guard(work: Work) -> None:
        try:
            await work()
        except Exception:  # the boundary of a task: nobody awaits it
            logger.exception("background work failed")
