"""A database that is empty or gone while what belongs to it is still there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bot.store.errors import ErrorKind, StoreError

# What only a bot that had a database puts beside it, and how it is called in a sentence.
_TRACES: Final = {"outputs": "clips", "uploads": "pictures"}
MARKER: Final = "bot.id"
"""The file that a bot leaves in its data folder, wherever its database is."""


def is_blank(path: Path) -> bool:
    """Return whether a file is absent or empty, as a full disk or a broken copy leaves it."""
    try:
        return path.stat().st_size == 0
    except OSError:
        return True


def lost_database(path: Path) -> str | None:
    """One line with what to do, if a database that is not there must have been there; else None.

    Args:
        path: of a file that is missing or empty.
    """
    folder = path.parent
    left = [words for name, words in _TRACES.items() if _has_files(folder / name)]
    if not left and not (folder / MARKER).exists():
        return None
    found = " and ".join(left) or f"the file {MARKER}"
    state = "empty" if path.exists() else "missing"
    return (
        f"database {path}: it is {state}, but {found} of an earlier run are beside it; put the "
        "database back with `python -m bot restore BACKUP`, or begin anew with "
        "`python -m bot restore --empty`; if it is on a PostgreSQL server, set "
        "FLOOR33_DATABASE_URL"
    )


def refuse_lost(path: Path) -> None:
    """Raise StoreError if `lost_database` has something to say."""
    if (problem := lost_database(path)) is not None:
        raise StoreError(problem, kind=ErrorKind.GONE)


def _has_files(folder: Path) -> bool:
    return any(path.is_file() for path in folder.rglob("*")) if folder.is_dir() else False
