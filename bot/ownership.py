"""Which bot works on a data folder: the one that was started last."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

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

    def take(self) -> None:
        """Make this bot the one that works on the folder. Raises OSError."""
        part = self._file.with_name(f".{_FILE}.{self._id}")
        part.write_text(self._id, encoding="ascii")
        part.replace(self._file)

    def depend_on(self, held: Callable[[], bool]) -> None:
        """Hold the folder only while this holds, too: the claim on a database elsewhere."""
        self._also = held

    def held(self) -> bool:
        """Whether no other bot has taken over since; a file that is gone says nothing."""
        if not self._also():
            return False
        try:
            return self._file.read_text(encoding="ascii") == self._id
        except FileNotFoundError:
            return True
