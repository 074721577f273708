"""Progress of an installation on stderr."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Final, Self

_RARELY_S: Final = 30.0  # between two lines where nobody watches, as in a service's log


class ProgressBars:
    """One bar after another: download, verify, convert. A context manager that closes the last.

    Call it as an ``OnProgress``.
    """

    def __init__(self) -> None:
        self._bar: Any = None
        self._kind = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Draw."""
        kind = stage.partition(" ")[0]  # "convert unet" goes on with the bar of "convert vae"
        if self._bar is None or kind != self._kind:
            self._begin(kind, total)
        self._bar.set_description(stage, refresh=False)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self.close()  # what comes next may take a while, which is not this stage's time

    def close(self) -> None:
        """Leave the last bar as it is and go to the next line."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None

    def _begin(self, kind: str, total: int) -> None:
        from tqdm import tqdm

        self.close()
        self._kind = kind
        watched = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            file=sys.stderr,
            unit="B",
            unit_scale=True,
            mininterval=0.1 if watched else _RARELY_S,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
