"""Open a video file from outside, and nothing else that its bytes may ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final

import av
from av.container import InputContainer

CONTAINERS: Final = (
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2"),
    *("matroska", "webm", "avi", "mpegts", "flv"),
)
"""The demuxers that may read a file: all of them find everything they need in that one file.

Session descriptions (SDP), lists (ffconcat, HLS, DASH) and image sequences are among those left
out: they open ports, addresses and other files.
"""


@contextmanager
def open_video(file: IO[bytes]) -> Iterator[InputContainer]:
    """Open a video for reading; only this file is read, and no protocol is spoken.

    Args:
        file: seekable; not closed.

    Raises:
        av.FFmpegError: it is no video of a known kind.
        ValueError, ArithmeticError: texts or times in its header make no sense.
    """
    allowed = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "none"}
    with av.open(file, mode="r", metadata_errors="replace", options=allowed) as container:
        yield container
