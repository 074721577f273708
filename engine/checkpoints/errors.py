"""Errors of models, each one sentence for the person who installed the model."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

from common.text import printable
from engine.errors import EngineError

_LISTED_MODELS: Final = 20
_LONGEST: Final = 2000


class ModelLoadError(EngineError):
    """A model folder cannot be turned into a pipeline; the text is one clear sentence.

    Names and texts from strangers' files may be part of it, so it is made printable here.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message, _LONGEST))


class ModelChangedError(ModelLoadError):
    """A model folder is no longer what it was when the clip was asked for."""


class InstallError(ModelLoadError):
    """A published model cannot be installed; the text is one clear sentence."""


class HubUnreachableError(InstallError):
    """The hub does not answer, or the connection broke; what has been fetched is kept."""


class HubOfflineError(InstallError):
    """Downloads are switched off, and the file is not in the cache."""


class NotOnHubError(InstallError):
    """The hub has no such repository, revision or file, or does not give it to us."""


class ChecksumError(InstallError):
    """A file is not the one it should be; it has been removed, so that the next try is new."""


class DiskSpaceError(InstallError):
    """There is not enough disk space."""


class OriginalCheckpointError(ModelLoadError, ValueError):
    """A checkpoint is refused; the text names the file and what is wrong with it."""


class OriginalConfigError(OriginalCheckpointError):
    """A configuration is refused; the text names the key."""


class OutputExistsError(OriginalCheckpointError):
    """The folder to write is in use."""


OutputFolderError = OutputExistsError
"""The earlier name of `OutputExistsError`, kept for one release."""


class UnknownModelError(ModelLoadError):
    """No model of that name is installed.

    Attributes:
        name: what was asked for.
        known: the names that exist.
    """

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = tuple(known)
        close = difflib.get_close_matches(name, self.known, n=2, cutoff=0.5)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        models = listed(self.known, most=_LISTED_MODELS) or "none is installed"
        super().__init__(f"There is no model {name!r}.{hint} Known models: {models}.")


def listed(names: Sequence[str], *, most: int = 6) -> str:
    """Join names for a message; of a long list the first, and how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
