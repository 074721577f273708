"""Forward an actor's log to the engine's process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from engine.serving.ray.protocol import LogLine

_PACKAGE = "engine"


class Forward(logging.Handler):
    """Hands what the engine's packages log, from INFO on, to a function."""

    def __init__(self, send: Callable[[LogLine], None]) -> None:
        super().__init__(logging.INFO)
        self._send = send

    def install(self) -> None:
        """Begin, for as long as this process lives."""
        package = logging.getLogger(_PACKAGE)
        package.setLevel(logging.INFO)
        package.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        # The formatter adds the traceback.
        self._send(LogLine(record.name, record.levelno, self.format(record)))


def repeat(lines: Iterable[LogLine], where: str) -> None:
    """Log in this process what was logged in another."""
    for line in lines:
        logging.getLogger(line.logger).log(line.level, "%s: %s", where, line.text)
