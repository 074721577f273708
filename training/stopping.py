"""SIGTERM and Ctrl-C as a wish, which the loop fulfils between two steps."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass(slots=True)
class Stop:
    """Whether this process was told to end, and whether all processes know it."""

    requested: bool = False
    agreed: bool = False


@contextmanager
def stop_when_told() -> Iterator[Stop]:
    """Note SIGTERM and the first Ctrl-C; the second one interrupts as ever."""
    stop = Stop()

    def request(number: int, _frame: FrameType | None) -> None:
        stop.requested = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = {n: signal.signal(n, request) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
