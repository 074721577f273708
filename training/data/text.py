"""Text from data sets: decoded strictly, and shown without control characters."""

from __future__ import annotations

import codecs
import re
from typing import Final

from training.data.errors import SampleError

MAX_CAPTION_BYTES: Final = 2**20
_MARKS: Final = (
    # UTF-32 first: its mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NO_TEXT: Final = re.compile("[\0\ud800-\udfff]")
_READ_AS: Final = "UTF-8 (or, with a byte order mark, UTF-16)"


def encoding_of(start: bytes) -> str:
    """The encoding that a byte order mark states; without one UTF-8."""
    return next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")


def decode_leniently(data: bytes) -> str:
    """Decode a file; bytes that are no text become lone surrogates, which `check_text` refuses."""
    encoding = encoding_of(data)
    if not encoding.startswith(("utf-16", "utf-32")):
        return data.decode(encoding, errors="surrogateescape")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return data.decode(encoding, errors="replace").replace("\ufffd", "\udfff")


def check_text(text: str, where: str) -> str:
    """Return a caption, stripped of spaces and byte order marks.

    Args:
        text: decoded by `decode_leniently`.
        where: the file, for the error.

    Raises:
        SampleError: it holds what is no text.
    """
    if _NO_TEXT.search(text):
        raise SampleError("unreadable caption", f"{where} is not {_READ_AS}; save it as UTF-8")
    return text.replace("\ufeff", "").strip()


def read_caption(data: bytes, where: str) -> str:
    """Decode a file that is one caption.

    Raises:
        SampleError: it is no text, or longer than 1 MiB.
    """
    if len(data) > MAX_CAPTION_BYTES:
        raise SampleError("unreadable caption", f"{where} is larger than 1 MiB")
    return check_text(decode_leniently(data), where)


def printable(text: str) -> str:
    """Show a text from outside: what would command a terminal is written as an escape."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii")
        for sign in text
    )
