"""Running ffmpeg: found, watched, killed when nobody waits for it, and its refusals told apart."""

from __future__ import annotations

import errno
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import imageio_ffmpeg

from engine.serving.interrupts import Check, carry_on

TIMEOUT_S: Final = 900
_CHECK_EVERY_S: Final = 0.1
_STDERR_CHARS: Final = 800
_DISK_FULL: Final = "No space left on device"


class EncoderMissingError(RuntimeError):
    """There is no ffmpeg that can be run."""


class EncodeError(RuntimeError):
    """ffmpeg refused or broke off; the text ends with what it said."""


def find_ffmpeg() -> str:
    """The path of the ffmpeg that imageio-ffmpeg brings or finds.

    Raises:
        EncoderMissingError: there is none, or IMAGEIO_FFMPEG_EXE names none.
    """
    try:
        executable = str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise EncoderMissingError(str(error)) from error
    if shutil.which(executable) is None:
        raise EncoderMissingError(f"{executable} is no program that can be run.")
    return executable


def run_ffmpeg(
    arguments: Sequence[str], *, data: memoryview | None = None, check: Check = carry_on
) -> None:
    """Run ffmpeg to its end. However this ends, no process is left.

    Args:
        arguments: input, filters and output; what is there of the output is overwritten.
        data: flat bytes for its standard input.
        check: called about ten times a second; when it raises, ffmpeg is killed.

    Raises:
        EncoderMissingError: there is no ffmpeg.
        EncodeError: it failed, or did not end within 15 minutes.
        OSError: ENOSPC when the disk is full.
    """
    executable = find_ffmpeg()
    command = [executable, "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *arguments]
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                # Ctrl-C ends the program in an orderly way, not the encoder under its feet.
                start_new_session=True,
            )
        except (FileNotFoundError, PermissionError) as error:
            raise EncoderMissingError(f"{executable} cannot be run: {error.strerror}.") from error
        with _fed(process, data):
            _wait(process, check)
        said.seek(0)
        text = said.read().decode(errors="replace").strip()
    if process.returncode == 0:
        return
    if _DISK_FULL in text:
        raise OSError(errno.ENOSPC, _DISK_FULL)
    raise EncodeError(f"ffmpeg ended with code {process.returncode}: {text[-_STDERR_CHARS:]}")


@contextmanager
def _fed(process: subprocess.Popen[bytes], data: memoryview | None) -> Iterator[None]:
    """Write to a process while the body waits for it; leaves neither process nor thread."""
    feeder = threading.Thread(target=_feed, args=(process, data), name="ffmpeg-input")
    feeder.start()
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        feeder.join()  # at once: nobody reads the pipe any more


def _feed(process: subprocess.Popen[bytes], data: memoryview | None) -> None:
    if process.stdin is None or data is None:
        return
    # An encoder that breaks off reads no further; why, it says itself.
    with suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(data)


def _wait(process: subprocess.Popen[bytes], check: Check) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        check()
        try:
            process.wait(_CHECK_EVERY_S)
        except subprocess.TimeoutExpired as error:
            if time.monotonic() > deadline:
                raise EncodeError(f"ffmpeg did not finish within {TIMEOUT_S} s") from error
        else:
            return
