"""Ending a command by a signal as Ctrl-C does: with nothing half-written left behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_ENDING: Final = ("SIGTERM", "SIGHUP")  # the latter when a terminal is closed; not on Windows


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Raise KeyboardInterrupt in the body when the process is told to end.

    A signal that is ignored (``nohup``) stays so, and one that the caller handles is left to it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's alone
        return
    taken = [
        number
        for name in _ENDING
        if (number := getattr(signal, name, None)) is not None
        and signal.getsignal(number) is signal.SIG_DFL
    ]
    for number in taken:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
