"""JSON that strangers wrote: bounded in size and depth before anything interprets it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, Final, NoReturn

from common.text import printable
from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.folder.reading import foreign_kind, read_limited
from engine.errors import EngineError

SETTINGS_BYTES: Final = 2**20
"""Limit of files of settings, which have some kilobytes."""

INDEX_BYTES: Final = 16 * 2**20
"""Limit of files that list tensors."""

VOCABULARY_BYTES: Final = 64 * 2**20
"""Limit of tokenizer files."""

_DEPTH: Final = 64
_DIGITS: Final = 64
# A string that does not end reaches to the end of the text, or each of its quotes would be tried.
_STRUCTURE: Final = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\Z)|[\[{]|[\]}]', re.DOTALL)


class BadJsonError(EngineError, ValueError):
    """A text is no JSON object that is accepted; the message follows "cannot be read as JSON: "."""


def parse_object(text: str) -> dict[str, Any]:
    """Parse the text of a JSON object.

    Keys that are stated twice, `NaN` and infinite numbers, whole numbers of more than 64 digits
    and nesting of more than 64 levels are refused.

    Raises:
        BadJsonError: it is something else.
    """
    _check_depth(text)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except BadJsonError:
        raise
    except (ValueError, RecursionError) as error:
        raise BadJsonError(printable(str(error), 200)) from error
    if not isinstance(value, dict):
        raise BadJsonError("it is no JSON object")
    return value


def read_object(
    path: Path, *, limit: int = SETTINGS_BYTES, byte_order_mark: bool = True
) -> dict[str, Any]:
    """Read a JSON object from a file, encoded in UTF-8.

    Args:
        path: the file.
        limit: its most bytes.
        byte_order_mark: whether it may begin with one, which other readers refuse.

    Raises:
        ModelLoadError: the file is missing, no regular one, too large, or holds something else.
    """
    content = read_limited(path, limit)
    if foreign := foreign_kind(content):
        raise ModelLoadError(f"{path} cannot be read as JSON: it is {foreign}.")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelLoadError(f"{path} cannot be read as JSON: it is not in UTF-8.") from error
    if text.startswith("\ufeff"):
        if not byte_order_mark:
            raise ModelLoadError(
                f"{path} cannot be read as JSON: it begins with a byte order mark; save it as "
                "UTF-8 without one."
            )
        text = text[1:]
    try:
        return parse_object(text)
    except BadJsonError as error:
        if "no JSON object" in str(error):
            raise ModelLoadError(f"{path} does not hold a JSON object.") from error
        raise ModelLoadError(f"{path} cannot be read as JSON: {error}.") from error


def _check_depth(text: str) -> None:
    """Raise before a parser that calls itself for each level gets to see the text."""
    depth = 0
    for match in _STRUCTURE.finditer(text):
        if match[0] in "[{":
            depth += 1
            if depth > _DEPTH:
                raise BadJsonError("it is nested too deep")
        elif match[0] in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BadJsonError(f"it states {printable(key, 80)!r} twice")
            seen.add(key)
    return found


def _no_constant(name: str) -> NoReturn:
    raise BadJsonError(f"it holds {name}, which is no number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise BadJsonError("it holds a number that is too large")
    return value


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise BadJsonError(f"it holds a number of {len(digits)} digits")
    return int(digits)
