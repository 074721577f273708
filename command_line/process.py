"""The outermost edge of a command: its streams, the signals that end it, and how it leaves.

A process that runs torch must not be taken down by the interpreter while a thread is inside a
kernel: the thread is unwound by force when it comes back, and C++ aborts the process ("terminate
called without an active exception"). So a command leaves by `os._exit`, after everything that
`sys.exit` would have done has been done by hand.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import NoReturn, TextIO

from command_line.codes import FAILED, INTERRUPTED, OK, OUTPUT_CLOSED, CommandError


def guarded(work: Callable[[], int], prefix: str = "") -> int:
    """Run a command and return its exit code; the errors that it ends with become one line.

    Args:
        work: does it, and returns the exit code.
        prefix: comes before what is said, such as `"training: "`.
    """
    try:
        return work()
    except CommandError as error:
        print(f"{prefix}{error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print(f"{prefix}Interrupted.", file=sys.stderr)
        return INTERRUPTED


def run_process(main: Callable[[], int]) -> NoReturn:
    """Run a command as the whole of this process, and end the process with its exit code.

    SIGTERM and SIGHUP interrupt it as Ctrl-C does, so that it puts everything away. A reader of
    standard output that has gone ends it quietly, one of standard error does not matter.
    """
    _open_streams()
    ended_by = _EndingSignal()
    ended_by.install()
    code = _code_of(main)
    if code == INTERRUPTED:
        code = ended_by.code
    _leave(code)


def _code_of(main: Callable[[], int]) -> int:
    try:
        code = main()
        sys.stdout.flush()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return FAILED
        return OK if end.code is None else int(end.code)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the outermost edge: a fault of ours
        if was_interrupted(error):
            print("Interrupted.", file=sys.stderr)
            return INTERRUPTED
        traceback.print_exc()
        return FAILED
    return code


def was_interrupted(error: BaseException | None) -> bool:
    """Return whether an error came of Ctrl-C: an import that is broken off raises what it likes."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _leave(code: int) -> NoReturn:
    """End the process without taking the interpreter down; a signal meanwhile ends it at once."""
    for number in _ending_signals(signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(code))
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except SystemExit:
        code = code or OUTPUT_CLOSED
    finally:
        try:
            sys.stderr.flush()
        finally:
            os._exit(code)


def _ending_signals(*more: int) -> list[int]:
    """Return SIGTERM, SIGHUP (which Windows lacks) and others, without those that are ignored."""
    hang_up = getattr(signal, "SIGHUP", None)
    numbers = [signal.SIGTERM, *([hang_up] if hang_up is not None else []), *more]
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


class _EndingSignal:
    """Turns SIGTERM and SIGHUP into what Ctrl-C is at the moment, and remembers which it was."""

    def __init__(self) -> None:
        self.code = INTERRUPTED

    def install(self) -> None:
        for number in _ending_signals():  # with nohup SIGHUP stays ignored
            signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.code = 128 + number
        if callable(signal.getsignal(signal.SIGINT)):
            signal.raise_signal(signal.SIGINT)
        else:  # ignored, as in the background of a script
            signal.default_int_handler(number, frame)


class _Output(io.TextIOWrapper):
    """Standard output: a reader that has gone ends the command, past every handler of errors."""

    # Here and not in the raw stream: a signal that came between the system call and the end of a
    # `write` in Python would have the buffer written twice.

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            raise SystemExit(OUTPUT_CLOSED) from None

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            raise SystemExit(OUTPUT_CLOSED) from None


class _Messages(io.TextIOWrapper):
    """Standard error: the work continues when nobody reads it any more."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            return len(text)

    def flush(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            super().flush()


def _open_streams() -> None:
    # First: a file that is opened later must not get the number of a stream that was closed.
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _stream(_Output, 1, sys.stdout)
    sys.stderr = _stream(_Messages, 2, sys.stderr)


def _stream(kind: type[io.TextIOWrapper], number: int, before: TextIO | None) -> io.TextIOWrapper:
    raw = io.FileIO(number, "w", closefd=False)
    at_once = number == 2 or raw.isatty() or getattr(before, "write_through", False)
    return kind(
        io.BufferedWriter(raw),
        encoding=before.encoding if before is not None else "utf-8",
        errors="backslashreplace" if number == 2 else getattr(before, "errors", None),
        line_buffering=at_once,
    )
