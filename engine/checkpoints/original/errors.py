"""What can be wrong with an original checkpoint or its conversion, each as one clear text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engine.checkpoints.errors import ModelLoadError

_LISTED: Final = 6


class OriginalCheckpointError(ModelLoadError, ValueError):
    """A checkpoint is refused; the text names the file and what is wrong with it."""


class OriginalConfigError(OriginalCheckpointError):
    """A configuration is refused; the text names the key."""


class OutputFolderError(OriginalCheckpointError):
    """The folder to write is in use."""


def listed(names: Sequence[str]) -> str:
    """Names for a message; of a long list the first, and how many more there are."""
    shown = ", ".join(names[:_LISTED])
    rest = len(names) - _LISTED
    return f"{shown} and {rest} more" if rest > 0 else shown
