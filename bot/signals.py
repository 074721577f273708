"""Run until a signal ends the process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any


class GracefulStop:
    """Prepares the end after SIGTERM; the work sets how, once there is something to do.

    Attributes:
        prepare: is awaited before the work is ended.
        stopped: a signal has ended the work.
    """

    async def nothing(self) -> None:
        """The default of `prepare`."""

    def __init__(self) -> None:
        self.prepare: Callable[[], Coroutine[Any, Any, None]] = self.nothing
        self.stopped = False


async def until_signal(work: Coroutine[Any, Any, None], end: GracefulStop) -> None:
    """Run the work. Ctrl-C ends it; SIGTERM and SIGHUP end it gracefully, a second one at once.

    They are how a service is stopped, and what a terminal sends that is closed.
    """
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    preparing: asyncio.Task[None] | None = None

    def stop(_done: object = None) -> None:
        end.stopped = True
        task.cancel()

    def stop_gracefully() -> None:
        nonlocal preparing
        if preparing is not None:
            stop()
            return
        preparing = loop.create_task(end.prepare())
        preparing.add_done_callback(stop)

    handlers = {"SIGTERM": stop_gracefully, "SIGHUP": stop_gracefully, "SIGINT": stop}
    for name, handler in handlers.items():
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is None or signal.getsignal(number) is signal.SIG_IGN:
            continue  # nohup
        try:
            loop.add_signal_handler(number, handler)
        except NotImplementedError:  # Windows: Ctrl-C arrives as KeyboardInterrupt
            break
    try:
        await task
    except asyncio.CancelledError:
        if not end.stopped:
            raise
    finally:
        if preparing is not None:
            preparing.cancel()
            await asyncio.gather(preparing, return_exceptions=True)
