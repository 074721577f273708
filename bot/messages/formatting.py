"""Fit text into what Discord takes."""

from __future__ import annotations

from typing import Final

MAX_CONTENT: Final = 2000
"""Characters of a message's text."""
_ELLIPSIS: Final = "…"


def shortened(text: str, limit: int = MAX_CONTENT) -> str:
    """Return the text, cut to at most `limit` characters."""
    return text if len(text) <= limit else text[: limit - len(_ELLIPSIS)] + _ELLIPSIS
