"""Text that strangers type, made safe to show and to keep."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from bot.messages.invisible import visible

MEGABYTE: Final = 1_000_000
_ELLIPSIS: Final = "…"
# Discord shows any ASCII punctuation after a backslash as itself. These begin or end markdown or
# a mention wherever they stand...
_ANYWHERE: Final = re.compile(r"([\\`*_~|\[\]<@])")
# ...a slash makes a link behind a scheme, and these begin a heading, quote or list.
_SCHEME: Final = re.compile(r"://")
_AT_START: Final = re.compile(r"^([#>+-]|\d+(?=\.))")


def clean(text: str) -> str:
    """One line of visible text: without control, direction and invisible characters.

    Blanks are collapsed. Emoji sequences stay whole, and so do words whose script needs joiners;
    what is left of a text that shows nothing is "".
    """
    kept = (
        " " if character.isspace() else character
        for character in visible(text)
        if character.isspace() or unicodedata.category(character) not in {"Cc", "Cs"}
    )
    return " ".join("".join(kept).split())


def escape(text: str) -> str:
    """The text as Discord markdown that shows exactly these characters, on one line."""
    escaped = _SCHEME.sub(r":\\//", _ANYWHERE.sub(r"\\\1", clean(text)))
    return _AT_START.sub(_escape_start, escaped)


def _escape_start(match: re.Match[str]) -> str:
    # A backslash cannot stand before a digit: it goes before the full stop.
    return match[0] + "\\" if match[0].isdecimal() else "\\" + match[0]


def quote(text: str, limit: int) -> str:
    """`escape(text)`, cut to at most `limit` characters; never in the middle of an escape."""
    escaped = escape(text)
    if len(escaped) <= limit:
        return escaped
    cut = escaped[: limit - len(_ELLIPSIS)]
    backslashes = len(cut) - len(cut.rstrip("\\"))
    if backslashes % 2:
        cut = cut[:-1]
    return cut + _ELLIPSIS


def duration(seconds: float) -> str:
    """A duration for people: ``0.8 s``, ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def in_about(seconds: float) -> str:
    """An estimated time from now: ``in a moment``, ``in about 20 s``, ``in about 2 h 10 min``."""
    if seconds < 5:
        return "in a moment"
    if seconds < 55:
        return f"in about {max(1, round(seconds / 10))}0 s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"in about {minutes} min"
    tens = round(minutes / 10)
    return f"in about {tens // 6} h {tens % 6}0 min"


def megabytes(size: int) -> str:
    """A file size for people, in MB of a million bytes."""
    return f"{size / MEGABYTE:.1f} MB"
