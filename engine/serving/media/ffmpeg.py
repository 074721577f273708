"""Find and run ffmpeg, kill it when nobody waits for it, and classify its errors."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

import imageio_ffmpeg

from engine.errors import EngineError
from engine.serving.cancellation import Check, no_check

TIMEOUT_S: Final = 900
_CHECK_EVERY_S: Final = 0.1
_STDERR_CHARS: Final = 800
_DISK_FULL: Final = "No space left on device"
_LIST_TIMEOUT_S: Final = 5
_ENCODER_LINE: Final = re.compile(r"^ [VAS][A-Z.]{5} (\S+)", re.MULTILINE)

H264: Final = "libx264"
"""The only H.264 encoder that is used. What clips are made smaller by, a constant quality and two
passes, and that equal clips are equal files, others do not offer (libopenh264), or only with a
device (NVENC, VAAPI, Quick Sync, VideoToolbox)."""


class EncoderMissingError(EngineError, RuntimeError):
    """There is no ffmpeg that can be run, or it lacks an encoder; the text says which."""


class EncodeError(EngineError, RuntimeError):
    """ffmpeg refused or broke off; the text ends with what it said."""


def find_ffmpeg(encoder: str = H264) -> str:
    """The path of the ffmpeg that imageio-ffmpeg brings or finds.

    Args:
        encoder: by ffmpeg's name; the program must have it.

    Raises:
        EncoderMissingError: there is no program, IMAGEIO_FFMPEG_EXE names none, or the program
            says that it does not have the encoder.
    """
    try:
        executable = str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise EncoderMissingError(str(error)) from error
    program = shutil.which(executable)
    if program is None:
        raise EncoderMissingError(f"{executable} is no program that can be run.")
    try:
        state = os.stat(program)
        encoders = _encoders(program, state.st_mtime_ns, state.st_size)
    except (OSError, subprocess.SubprocessError, _NoListError):
        return executable  # what is wrong with it shows when it is used, with its own words
    if encoder not in encoders:
        raise EncoderMissingError(
            f"{executable} was built without {encoder}; "
            "install imageio-ffmpeg again, or a complete ffmpeg."
        )
    return executable


class _NoListError(Exception):
    """A program did not say which encoders it has."""


@lru_cache(maxsize=8)
def _encoders(program: str, _modified_ns: int, _size: int) -> frozenset[str]:
    """The names of a program's encoders; asked once for each file."""
    # In an empty folder, so that a program that is not ffmpeg finds nothing to overwrite.
    with tempfile.TemporaryDirectory() as folder:
        listed = subprocess.run(
            [program, "-hide_banner", "-nostdin", "-encoders"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=folder,
            timeout=_LIST_TIMEOUT_S,
            check=True,
            start_new_session=True,
        )
    text = listed.stdout.decode(errors="replace")
    if "Encoders:" not in text:
        raise _NoListError
    return frozenset(_ENCODER_LINE.findall(text))


def as_input(path: Path, form: str) -> list[str]:
    """The arguments that read a file, as this format and no other, whatever it is called."""
    return ["-protocol_whitelist", "file", "-f", form, "-i", _whole(path)]


def _whole(path: Path) -> str:
    """An absolute path, in which colons are no protocol and hyphens no option."""
    return os.path.abspath(path)


def run_ffmpeg(
    arguments: Sequence[str],
    output: Path | None,
    *,
    encoder: str = H264,
    data: memoryview | None = None,
    check: Check = no_check,
) -> None:
    """Run ffmpeg to its end. However this ends, no process is left.

    Args:
        arguments: input, filters, codecs and the output's format.
        output: the file to write; an older one is overwritten. None writes none.
        encoder: by ffmpeg's name; the program must have it.
        data: flat bytes for its standard input.
        check: called about ten times a second; when it raises, ffmpeg is killed.

    Raises:
        EncoderMissingError: there is no ffmpeg, or it lacks the encoder.
        EncodeError: it failed, wrote nothing, or did not end within 15 minutes.
        OSError: ENOSPC when the disk is full.
    """
    executable = find_ffmpeg(encoder)
    command = [executable, "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *arguments]
    command.append(os.devnull if output is None else _whole(output))
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
        if output is not None and not (output.is_file() and output.stat().st_size):
            raise EncodeError(f"ffmpeg ended well and wrote nothing to {output}")
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
