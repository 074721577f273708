"""The ownership of a data folder: it is with the bot that was started last."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bot.files import PRIVATE_FILE
from bot.store.errors import DatabaseGoneError
from bot.store.identity import FileIdentity
from common.atomic_write import atomic_write

_FILE: Final = "bot.id"


class Ownership:
    """The right to work on a data folder. Whoever takes it last has it.

    A second bot, started by mistake or while the first is still ending, would render the same jobs
    and answer the same commands. It takes over instead, and the first one notices and ends.
    """

    def __init__(self, data_dir: Path) -> None:
        self._file = data_dir / _FILE
        self._id = uuid.uuid4().hex
        self._also: Callable[[], bool] = lambda: True
        self._folder: FileIdentity | None = None

    def take(self) -> None:
        """Make this bot the one that works on the folder. Raises OSError."""
        atomic_write(self._file, self._id, mode=PRIVATE_FILE)
        self._folder = FileIdentity(self._file.parent)

    def depend_on(self, held: Callable[[], bool]) -> None:
        """Hold the folder only while this holds, too: the claim on a database elsewhere."""
        self._also = held

    def check_folder(self) -> None:
        """Raise DatabaseGoneError if the folder is not the one that was taken; one `stat`."""
        if (change := self._change()) is not None:
            raise DatabaseGoneError(str(self._file.parent), f"its folder {change}")

    def held(self) -> bool:
        """Return whether the folder is still this bot's.

        Not if another bot has taken over since, or if the folder is gone. A file that is gone from
        the folder says nothing.
        """
        if not self._also():
            return False
        try:
            return self._file.read_text(encoding="ascii") == self._id
        except FileNotFoundError:
            return self._change() is None

    def _change(self) -> str | None:
        return None if self._folder is None else self._folder.change()
