"""The log of a run: one JSON object a line, means since the line before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from common.atomic_write import atomic_write

LOG = "log.jsonl"


class Log:
    """Appends to ``log.jsonl``.

    Args:
        folder: of the run; made if missing.
        step: where the run goes on. Lines of later steps, which a killed run wrote after its last
            checkpoint, are removed: they will be written again.
    """

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / LOG
        self._pending: list[Mapping[str, float]] = []
        self._forget_after(step)

    def collect(self, figures: Mapping[str, float]) -> None:
        """Remember the figures of one step."""
        self._pending.append(figures)

    def write(self, step: int, extra: Mapping[str, float]) -> dict[str, float]:
        """Write the means of what was collected, and ``extra`` as it is; return the line."""
        line: dict[str, float] = {"step": step}
        for name in self._pending[0] if self._pending else ():
            line[name] = sum(figures[name] for figures in self._pending) / len(self._pending)
        line |= extra
        self._pending.clear()
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return line

    def _forget_after(self, step: int) -> None:
        if not self._path.exists():
            return
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if _step_of(line) <= step]
        if len(kept) < len(lines):
            atomic_write(self._path, "".join(kept), unique=False)


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # the half line of a run that was killed
