"""Free space of the disk that a path lies on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple


class DiskSpace(NamedTuple):
    """Bytes of a disk that are free, and its bytes in all."""

    free: int
    total: int


def disk_space(path: Path) -> DiskSpace:
    """Return the space of the disk that a path lies on.

    Raises:
        OSError: the path does not exist, or the disk does not answer.
    """
    usage = shutil.disk_usage(path)
    return DiskSpace(usage.free, usage.total)


def free_bytes(path: Path) -> int:
    """Return the bytes that are free where a path lies. Raises as `disk_space`."""
    return disk_space(path).free


def nearest_existing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
