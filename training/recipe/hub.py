"""Folders of the model hub, for recipes that name one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from training.recipe.model import RecipeError

HUB_PREFIX: Final = "hub:"
_NAME: Final = re.compile(r"hub:(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def is_hub_name(source: str) -> bool:
    """Return whether a recipe means a repository, by the prefix alone; no folder is guessed at."""
    return source.startswith(HUB_PREFIX)


def fetch_folder(source: str, patterns: Sequence[str]) -> Path:
    """The files of a repository that match, from huggingface_hub's cache or else the hub.

    Args:
        source: ``hub:OWNER/NAME`` or ``hub:OWNER/NAME@REVISION``.
        patterns: of the paths in the repository.

    Returns:
        A folder with the repository's layout.

    Raises:
        RecipeError: no such name, or it is neither in the cache nor to be had.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    name = _NAME.fullmatch(source)
    if name is None:
        raise RecipeError(
            f"{source!r} is not of the form hub:OWNER/NAME or hub:OWNER/NAME@REVISION"
        )
    try:
        folder = snapshot_download(
            name["repo"], revision=name["revision"], allow_patterns=list(patterns)
        )
    except (HFValidationError, OSError) as error:  # what the client raises derives from OSError
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RecipeError(f"{source} cannot be fetched: {first}") from error
    return Path(folder)
