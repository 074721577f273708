"""One sample of a data set: what it is called, what it shows, and where its bytes are."""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from training.data.errors import SampleError
from training.data.synthetic import SyntheticScene

MediaKind = Literal["video", "picture"]

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi"})
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"})


def media_kind(suffix: str) -> MediaKind | None:
    """Return the kind of media by a file name's ending (``.mp4``, any case); None for others."""
    suffix = suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return "video"
    return "picture" if suffix in PICTURE_SUFFIXES else None


@dataclass(frozen=True, slots=True)
class Slice:
    """``size`` bytes of a file from ``offset`` on: a whole file, or a member of a shard."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """All bytes; fewer than ``size`` where the file was cut since it was listed.

        Raises:
            OSError: the file cannot be read.
        """
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def open(self) -> io.BufferedReader:
        """The same bytes as a file that can be sought in, without reading them all.

        Raises:
            OSError: the file cannot be opened.
        """
        return io.BufferedReader(_Window(self))


class _Window(io.RawIOBase):
    """Read-only view of a part of a file."""

    def __init__(self, part: Slice) -> None:
        self._file = part.path.open("rb", buffering=0)
        self._part = part
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._part.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        room = min(len(buffer), max(0, self._part.size - self._at))
        self._file.seek(self._part.offset + self._at)
        count = self._file.readinto(buffer[:room])
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


@dataclass(frozen=True, slots=True)
class Sample:
    """A video or picture with its caption.

    ``width`` and ``height`` in pixels where the set's metadata state them; only their ratio is
    relied on. ``caption`` is None where there is none.
    """

    key: str
    kind: MediaKind
    caption: str | None
    media: Slice | SyntheticScene
    width: int | None = None
    height: int | None = None


class DataSource(Protocol):
    """A data set with random access; what it lists never changes while it is open.

    Attributes:
        kind: what it is called in reports.
        groups: how many samples lie together (in each shard), in order; their sum is the size.
        notes: what was wrong while listing, one line each.
    """

    kind: str
    groups: tuple[int, ...]
    notes: tuple[str, ...]

    def sample(self, index: int) -> Sample:
        """The sample with this number, from 0 up to the size.

        Raises:
            SampleError: its file is missing, or its entry cannot be read.
        """
        ...


def file_media(path: Path) -> Slice:
    """A whole file.

    Raises:
        OSError: there is none.
        SampleError: it is a folder, a pipe or a device.
    """
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise SampleError("missing file", f"{path} is no regular file")
    return Slice(path, 0, state.st_size)


@dataclass(frozen=True, slots=True)
class Boundary:
    """The folder that the files of a data set have to lie in, links followed.

    A set from elsewhere names files by tables and links; it is not to reach others of this machine.
    """

    folder: Path
    allow_outside: bool = False

    def check(self, path: Path) -> Path:
        """Return the path.

        Raises:
            SampleError: it leads outside the folder, or cannot be a path.
        """
        if self.allow_outside:
            return path
        try:
            inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.folder))
        except ValueError as error:  # a NUL character
            raise SampleError("missing file", f"{str(path)!r}: {error}") from error
        if not inside:
            raise SampleError(
                "outside the data set",
                f"{path} leads outside {self.folder}; allow_outside = true would read it",
            )
        return path
