"""The identity of a file or folder: whether a path still leads to the one it led to before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

# No disk under it any more, or not for a moment: that says nothing about the file.
_ABSENT: Final = (FileNotFoundError, NotADirectoryError)


class FileIdentity:
    """Remembers which file a path led to when this was made.

    A file that is open keeps its number as long as it is open, so a new one cannot have it. The
    check costs one `stat`. Raises OSError if there is no file at the path.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = _number(path)

    def change(self) -> str | None:
        """Say what became of the file, as the end of "the file ..."; None: no change is known."""
        try:
            found = _number(self._path)
        except _ABSENT:
            return "was removed or moved away"
        except OSError:
            return None  # a network disk that does not answer, say: writing tells more
        return None if found == self._number else "was replaced by another one"


def _number(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino
