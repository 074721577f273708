"""Paths as the database keeps them: relative to the data folder, so that the folder can move.

They are never believed: a database may come from somebody else's backup.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Final

from bot.store.errors import StoreError

_NOT_OURS: Final = frozenset({"models"})
"""Folders of the data folder in which no row has a file."""
_MAY_BE_LINKS: Final = frozenset({"outputs", "uploads"})
"""Folders of the data folder that the operator may have put on another disk."""


class OutsideError(StoreError, OSError):
    """A stored path that leads to no file of the bot's; such a file is neither read nor removed."""

    def __init__(self, stored: str) -> None:
        super().__init__(f"the database names {stored!r}, which is no file of this bot's")


def inside(data_dir: Path, path: Path) -> str:
    """The path relative to the data folder, with "/" between its parts; others stay absolute.

    Links are followed only where there is no other way: a folder in the data folder may be a link
    to a larger disk.
    """
    plain, folder = Path(os.path.abspath(path)), Path(os.path.abspath(data_dir))
    for file, root in ((plain, folder), (path.resolve(), data_dir.resolve())):
        if file.is_relative_to(root):
            return file.relative_to(root).as_posix()
    return path.resolve().as_posix()


def is_inside(stored: str) -> bool:
    """Return whether a stored path, by its words alone, is in one of the data folder's folders.

    Files of the folder itself (the database) and of its models are none that a row may name.
    """
    parts = PurePosixPath(stored).parts
    return (
        len(parts) > 1
        and not stored.startswith("/")
        and ".." not in parts
        and parts[0] not in _NOT_OURS
        and not any(character in stored for character in "\\\0")
    )


def resolve(data_dir: Path, stored: str) -> Path:
    """The file that a stored path means; it need not exist.

    `outputs` and `uploads` may be links to another disk, and older rows have the absolute path
    behind such a link. No other link may lead out of the folder.

    Raises OutsideError for any other path.
    """
    if is_inside(stored):
        first = PurePosixPath(stored).parts[0]
        places = [data_dir / first if first in _MAY_BE_LINKS else data_dir]
    elif os.path.isabs(stored):
        places = [data_dir / name for name in _MAY_BE_LINKS]
    else:
        raise OutsideError(stored)
    path = data_dir / stored  # an absolute one stays as it is
    try:
        real = path.resolve()
        if not any(place.resolve() in real.parents for place in places):
            raise OutsideError(stored)
    except (ValueError, RuntimeError) as error:  # a NUL, a circle of links
        raise OutsideError(stored) from error
    return path
