"""The known model families: one row each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from engine.checkpoints.catalog import ModelCard
from engine.checkpoints.errors import ModelLoadError
from engine.serving.backends.base import ModelBackend
from engine.serving.backends.videocrafter import VideoCrafterBackend

FAMILIES: Final[tuple[Callable[[], ModelBackend], ...]] = (VideoCrafterBackend,)
"""Built anew for each engine, for a family may remember what it has read."""


class BackendRegistry:
    """Model families by name. Immutable.

    Args:
        backends: one for each family; a later one of the same name replaces an earlier one.
    """

    def __init__(self, backends: Iterable[ModelBackend]) -> None:
        self._backends = {backend.family: backend for backend in backends}

    def __iter__(self) -> Iterator[ModelBackend]:
        return iter(self._backends.values())

    def with_family(self, backend: ModelBackend) -> BackendRegistry:
        """Return a registry that also has this family."""
        return BackendRegistry((*self._backends.values(), backend))

    def of(self, card: ModelCard) -> ModelBackend:
        """Return the backend of a model's family.

        Raises:
            ModelLoadError: there is none.
        """
        try:
            return self._backends[card.family]
        except KeyError:
            known = ", ".join(sorted(self._backends))
            raise ModelLoadError(
                f"The model {card.name} is of the family {card.family!r}; known are {known}."
            ) from None

    def describe(self, name: str, folder: Path) -> ModelCard | None:
        """Return the card of a folder by the first family that knows it; None if none does."""
        for backend in self._backends.values():
            card = backend.describe(name, folder)
            if card is not None:
                return card
        return None


def default_backends() -> BackendRegistry:
    """Return the families that come with the engine."""
    return BackendRegistry(family() for family in FAMILIES)
