"""Text from strangers' files, made safe for terminals, logs and messages."""

from __future__ import annotations

import unicodedata
from typing import Final

_ELLIPSIS: Final = "…"


def printable(text: str, limit: int | None = None) -> str:
    r"""Return the text on one line, every character of it visible.

    Control and format characters (escape sequences, line breaks, direction marks), lone surrogates
    and unassigned code points become escapes such as `\x1b`; blanks of any width become a plain
    one. Applied twice it changes nothing more.

    Args:
        text: anything.
        limit: characters after which the text is cut; None: it is not cut.
    """
    if limit is not None and len(text) > limit:
        text = text[:limit]  # before the escapes, which may be ten times as long
        cut = True
    else:
        cut = False
    shown = text if text.isprintable() else "".join(map(_visible, text))
    if limit is not None and (cut or len(shown) > limit):
        return shown[: max(0, limit - len(_ELLIPSIS))] + _ELLIPSIS
    return shown


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    if unicodedata.category(character) == "Zs":
        return " "
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
