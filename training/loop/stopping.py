"""SIGTERM, SIGHUP and Ctrl-C as a wish, which the loop fulfils between two steps."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass(slots=True)
class Stop:
    """A request to end: whether this process was given it, and whether all processes know it."""

    requested: bool = False
    agreed: bool = False


def ending_signals() -> list[int]:
    """Return the signals that end a run in order; one that is ignored (nohup) stays so."""
    numbers = [signal.SIGTERM, signal.SIGINT]
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        numbers.append(hang_up)
    return [*numbers]


@contextmanager
def stop_when_told() -> Iterator[Stop]:
    """Note SIGTERM, SIGHUP and the first Ctrl-C; the second one interrupts as ever."""
    stop = Stop()

    def request(number: int, _frame: FrameType | None) -> None:
        stop.requested = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = {number: signal.signal(number, request) for number in ending_signals()}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
