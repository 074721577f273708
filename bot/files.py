"""Permissions of what the bot keeps: it holds what people typed, so only its own user reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

PRIVATE_FILE: Final = 0o600
PRIVATE_FOLDER: Final = 0o700
_PRIVATE_UMASK: Final = 0o077


def make_private_folder(folder: Path) -> None:
    """Make the folder for this user only, and those above it that are missing. Raises OSError.

    One that is there stays as it is; of those above the umask decides.
    """
    folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)


def open_private(path: str | Path, mode: str, **options: Any) -> IO[Any]:
    """Open a file as `open` does; one that is made is for this user only, whatever the umask."""
    return open(path, mode, opener=_opener, **options)


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE_FILE)


@contextmanager
def umask(mask: int) -> Iterator[int]:
    """Give the process this umask for the block, which is given the one before.

    A process has one umask for all its threads: only for blocks that nothing runs beside.
    """
    before = os.umask(mask)
    try:
        yield before
    finally:
        os.umask(before)


@contextmanager
def private_umask() -> Iterator[int]:
    """Keep what libraries and programs such as ffmpeg write from others; see `umask`."""
    with umask(_PRIVATE_UMASK) as before:
        yield before
