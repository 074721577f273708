"""Files and folders that appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(target: Path, *, mode: int | None = None, unique: bool = True) -> Iterator[Path]:
    """Yield a hidden name beside a file, which replaces the file unless the block fails.

    What was written under the hidden name is removed when the block fails.

    Args:
        target: the file; its folder exists.
        mode: permissions that the hidden file is created with, so that nobody else can read it
            while it is written. None: the block creates the file.
        unique: several writers may write the same file at the same time. Without it, what a
            writer that was killed has left is removed first.

    Raises:
        OSError: the file cannot be created or renamed.
    """
    part = _hidden(target, "part", unique=unique)
    part.unlink(missing_ok=True)
    try:
        if mode is not None:
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        yield part
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def atomic_write(
    target: Path, content: str | bytes, *, mode: int | None = None, unique: bool = True
) -> None:
    """Replace a file with this content; text is written as UTF-8.

    The arguments and errors are those of `atomic_path`.
    """
    data = content.encode() if isinstance(content, str) else content
    # "x" follows nobody's link; with a mode the file is there already, and is ours.
    how = "xb" if mode is None else "wb"
    with atomic_path(target, mode=mode, unique=unique) as part, part.open(how) as file:
        file.write(data)


@contextmanager
def atomic_folder(target: Path, *, unique: bool = True, sync: bool = False) -> Iterator[Path]:
    """Yield a hidden name beside a folder, which replaces the folder unless the block fails.

    The block makes the folder under the hidden name. The folder that was there before stays until
    the new one is whole, and is put back when that cannot be renamed.

    Args:
        target: the folder; the folder that it lies in exists by the end of the block.
        unique: as in `atomic_path`. Without it a folder that a killed writer had moved aside is put
            back first.
        sync: write the files through to the disk before the folder is renamed.

    Raises:
        OSError: the folder cannot be renamed.
    """
    partial = _hidden(target, "partial", unique=unique)
    old = partial.with_name(f"{partial.stem}.old.partial")
    if not unique and old.exists() and not target.exists():
        old.rename(target)
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        yield partial
        if sync:
            _sync_files(partial)
        if target.exists():
            target.rename(old)
        partial.rename(target)
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _hidden(target: Path, suffix: str, *, unique: bool) -> Path:
    token = f".{secrets.token_hex(4)}" if unique else ""
    return target.with_name(f".{target.name}{token}.{suffix}")


def _sync_files(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
