"""Read a TOML file that somebody wrote by hand: what is wrong is one line, with its place."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

MAX_DEPTH: Final = 32

_AT_END: Final = " (at end of document)"


class TomlFileError(ValueError):
    """A file's text is no TOML; one line without the file's name."""


def read_toml(file: Path) -> dict[str, Any]:
    """Return the tables of a file.

    Raises:
        OSError: it cannot be read.
        TomlFileError: it is no UTF-8 text or no TOML, or is nested too deeply.
    """
    data = file.read_bytes()
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        place = _position(data[: error.start].decode("utf-8-sig"))
        raise TomlFileError(f"not UTF-8 text ({place})") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        if not re.search(r"line \d+, column \d+", message):  # "at end of document"
            message = f"{message.removesuffix(_AT_END)} (at {_position(text)})"
        raise TomlFileError(f"not valid TOML: {message}") from error
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:  # a number of thousands of digits
        raise TomlFileError(f"not valid TOML: {error}") from error
    if _depth(values) > MAX_DEPTH:  # tomllib reads deeper ones than can be shown in an error
        raise _too_deep()
    return values


def _too_deep() -> TomlFileError:
    return TomlFileError("tables or lists are nested too deeply")


def _depth(value: object) -> int:
    """Return how deep tables and lists lie in one another; without recursion."""
    depth, level = 0, [value]
    while level := [
        inner
        for outer in level
        if isinstance(outer, dict | list)
        for inner in (outer.values() if isinstance(outer, dict) else outer)
    ]:
        depth += 1
    return depth


def _position(text: str) -> str:
    """Return line and column, from 1, right after the text."""
    return f"line {text.count(chr(10)) + 1}, column {len(text) - text.rfind(chr(10))}"
