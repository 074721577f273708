"""The progress of a run on the screen: a bar in a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tqdm import tqdm

_MEMORY = 0.05
"""Weight of the newest step in the running means of loss and time."""


@dataclass(frozen=True, slots=True)
class Speed:
    """The cost of a step, and the machine's peak of which it reaches a share.

    Attributes:
        flops: floating-point operations of one step, of all processes together.
        peak: of the machines together, a second.
    """

    flops: float
    peak: float

    def share(self, seconds: float) -> float:
        """Share of the peak that a step of so many seconds reaches, 0..1."""
        return self.flops / seconds / self.peak


class TrainingProgress:
    """Shows loss, throughput, time to go, and the share of peak where that is known.

    Args:
        step: where the run goes on.
        steps: where it ends.
        batch_size: samples a step, of all processes.
        show: False in all processes but the main one.
    """

    def __init__(self, step: int, steps: int, batch_size: int, *, show: bool = True) -> None:
        self._steps, self._batch_size, self._show = steps, batch_size, show
        self._loss: float | None = None
        self._seconds: float | None = None
        self.speed: Speed | None = None
        terminal = show and sys.stderr.isatty()
        self._bar = (
            tqdm(total=steps, initial=step, unit="step", file=sys.stderr, dynamic_ncols=True)
            if terminal
            else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, loss: float, seconds: float) -> None:
        """Count one step."""
        self._loss = _mean(self._loss, loss)
        self._seconds = _mean(self._seconds, seconds)
        if self._bar is not None:
            self._bar.set_postfix_str(self._figures(), refresh=False)
            self._bar.update()

    def line(self, line: Mapping[str, float]) -> None:
        """Show a line of the log."""
        if not self._show:
            return
        text = "  ".join(f"{name} {value:.5g}" for name, value in line.items())
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
            return
        if self._seconds is not None:
            left = (self._steps - line["step"]) * self._seconds
            text += f"  {self._figures(loss=False)}  {_clock(left)} to go"
        print(text, flush=True)

    def _figures(self, *, loss: bool = True) -> str:
        parts = [f"loss {self._loss:.4g}"] if loss and self._loss is not None else []
        if self._seconds:
            parts.append(f"{self._batch_size / self._seconds:.3g} samples/s")
            if self.speed is not None:
                parts.append(f"{self.speed.share(self._seconds):.0%} of peak")
        return "  ".join(parts)


class Stopwatch:
    """Seconds since it was last read."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def read(self) -> float:
        """Seconds since the last reading; starts anew."""
        before, self._since = self._since, time.perf_counter()
        return self._since - before


def _mean(before: float | None, now: float) -> float:
    return now if before is None else before + _MEMORY * (now - before)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
