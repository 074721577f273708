"""Paths as the database keeps them: relative to the data folder, so that the folder can move."""

from __future__ import annotations

from pathlib import Path


def inside(data_dir: Path, path: Path) -> str:
    """The path relative to the data folder, with "/" between its parts; others stay absolute."""
    try:
        return path.resolve().relative_to(data_dir.resolve()).as_posix()
    except ValueError:
        return path.resolve().as_posix()


def resolve(data_dir: Path, stored: str) -> Path:
    """The file that a stored path means."""
    return data_dir / stored
