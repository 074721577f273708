"""Broken models: those that could not be loaded, and when each is worth another try."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.checkpoints.catalog import ModelCard
from engine.checkpoints.errors import ModelChangedError, ModelLoadError

TRY_AGAIN_AFTER_S: Final = 60.0
"""A model that cannot be loaded is tried again when its files change, or after so long."""


@dataclass(frozen=True, slots=True)
class _Broken:
    revision: str
    stamp: object
    at: float
    reason: str
    passing: bool


class BrokenModels:
    """Remembers failed attempts of one thread to load models. Any thread may read.

    Args:
        clock: seconds that never run backwards.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._broken: dict[str, _Broken] = {}

    @property
    def reasons(self) -> Mapping[str, str]:
        """Models that could not be loaded the last time, and why."""
        return {name: broken.reason for name, broken in list(self._broken.items())}

    @property
    def revisions(self) -> Mapping[str, str]:
        """Models that are not worth another try yet, and their revisions."""
        now = self._clock()
        return {
            name: broken.revision
            for name, broken in list(self._broken.items())
            if not broken.passing or now < broken.at + TRY_AGAIN_AFTER_S
        }

    @contextmanager
    def attempt(self, card: ModelCard) -> Iterator[None]:
        """Load a model in the body, and remember how that ended.

        Raises:
            ModelLoadError: it has failed before and is not worth another try; what the body raises.
        """
        stamp = _stamp(card)
        broken = self._broken.get(card.name)
        if broken and broken.stamp == stamp and self._clock() < broken.at + TRY_AGAIN_AFTER_S:
            raise ModelLoadError(broken.reason)
        try:
            yield
        except ModelChangedError as error:
            if error.__cause__ is not None:  # what they have become cannot be loaded
                self._broken[card.name] = _Broken("", stamp, self._clock(), str(error), True)
            raise
        except ModelLoadError as error:
            # A disk that does not answer may do so again.
            passing = isinstance(error.__cause__, OSError)
            self._broken[card.name] = _Broken(
                card.revision, stamp, self._clock(), str(error), passing
            )
            raise
        self._broken.pop(card.name, None)


def _stamp(card: ModelCard) -> object:
    """Changes with every file that the model is loaded from."""
    folders = (card.path, *(source.path for source in card.loras))
    stats: list[tuple[str, int, int]] = []
    for folder in folders:
        for file in [folder] if folder.is_file() else sorted(Path(folder).rglob("*")):
            # Those that begin with a dot are our own notes of fingerprints.
            if not file.name.startswith("."):
                with suppress(OSError):  # gone meanwhile
                    status = file.stat()
                    stats.append((str(file), status.st_mtime_ns, status.st_size))
    return card.revision, tuple(stats)
