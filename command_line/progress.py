"""A bar where somebody watches; a line now and then where stderr is a file or a pipe."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

_SHARE = 0.1
"""So much more has to be done before the next line."""

_RARELY_S = 5.0
"""And so many seconds must have passed, but for the last line."""


class ProgressLine:
    """A display of progress: a bar in a terminal, lines elsewhere. A context manager.

    Args:
        total: of the units.
        unit: their name.
        label: what is being done.
        scale: write large numbers with k, M, G.
        share: how much more must be done before another line is written, 0..1.
        pause_s: and how many seconds must have passed since the line before.
    """

    def __init__(
        self,
        total: int,
        unit: str,
        label: str = "",
        *,
        scale: bool = False,
        share: float = _SHARE,
        pause_s: float = _RARELY_S,
    ) -> None:
        self._total, self._unit, self._label = total, unit, label
        self._scale, self._share, self._pause_s = scale, share, pause_s
        self._done = self._told = 0
        self._told_at = self._began = time.monotonic()
        self._bar: Any = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, unit=unit, desc=label or None, unit_scale=scale, file=sys.stderr
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def label(self, text: str) -> None:
        """Say what is being done from now on."""
        if text != self._label and self._bar is not None:
            self._bar.set_description(text)
        self._label = text

    def advance_to(self, done: int) -> None:
        """Show that so many units are done, of all."""
        if self._bar is not None:
            self._bar.update(done - self._done)
        self._done = done
        if self._bar is None and self._is_news():
            self._tell()

    def write(self, text: str) -> None:
        """Write a line of other news to stderr, without spoiling the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            sys.stderr.write(f"{text}\n")

    def close(self) -> None:
        """Leave what is shown as it is."""
        if self._bar is not None:
            self._bar.close()

    def _is_news(self) -> bool:
        if self._done <= self._told:
            return False
        if self._done >= self._total:
            return True
        passed = time.monotonic() - self._told_at
        return self._done - self._told >= self._share * self._total and passed >= self._pause_s

    def _tell(self) -> None:
        self._told, self._told_at = self._done, time.monotonic()
        amount = f"{self._figure(self._done)}/{self._figure(self._total)} {self._unit}"
        percent = 100 * self._done // max(1, self._total)
        seconds = self._told_at - self._began
        label = f"{self._label}: " if self._label else ""
        sys.stderr.write(f"{label}{amount} ({percent}%) after {seconds:.0f} s\n")

    def _figure(self, value: float) -> str:
        if not self._scale:
            return str(value)
        for size, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if value >= size:
                return f"{value / size:.3g} {name}"
        return str(value)
