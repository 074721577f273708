"""Progress of an installation on stderr."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from command_line.progress import ProgressLine

_RARELY_S: Final = 30.0  # between two lines where nobody watches, as in a service's log
_SHARE: Final = 0.01


class ProgressBars:
    """One bar after another: download, verify, convert. A context manager that closes the last.

    Call it as an `OnProgress`.
    """

    def __init__(self) -> None:
        self._line: ProgressLine | None = None
        self._kind = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Draw."""
        kind = stage.partition(" ")[0]  # "convert unet" goes on with the bar of "convert vae"
        if self._line is None or kind != self._kind:
            self.close()
            self._kind = kind
            self._line = ProgressLine(total, "B", scale=True, share=_SHARE, pause_s=_RARELY_S)
        self._line.label(stage)
        self._line.advance_to(done)
        if done >= total:
            self.close()  # what comes next may take a while, which is not this stage's time

    def close(self) -> None:
        """Leave the last bar as it is and go to the next line."""
        if self._line is not None:
            self._line.close()
        self._line = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
