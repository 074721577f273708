"""Check that there is room for what is going to be written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from common.disk import free_bytes, nearest_existing
from engine.checkpoints.errors import DiskSpaceError


def check_space(needed: Mapping[Path, int]) -> None:
    """Raise if files would not fit on their disks.

    Args:
        needed: bytes to be written below each folder, which need not exist yet. Folders on the
            same disk share its space.

    Raises:
        DiskSpaceError: names the folder, what it needs and what is free.
    """
    disks: defaultdict[int, list[Path]] = defaultdict(list)
    for folder in needed:
        disks[nearest_existing(folder).stat().st_dev].append(folder)
    for folders in disks.values():
        wanted = sum(needed[folder] for folder in folders)
        free = free_bytes(nearest_existing(folders[0]))
        if wanted > free:
            raise DiskSpaceError(
                f"{gigabytes(wanted)} are needed in {' and '.join(map(str, folders))}, but only "
                f"{gigabytes(free)} are free."
            )


def gigabytes(count: int) -> str:
    """Format a number of bytes for people."""
    if count >= 10**8:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.1f} MB" if count >= 10**5 else f"{count} bytes"
