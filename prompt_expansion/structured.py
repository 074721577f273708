"""Find the description in a reply that is JSON, XML, a code block or a box."""

from __future__ import annotations

import json
import re
from typing import Any, Final

_FENCE: Final = re.compile(r"(?:```|~~~)[\w-]*[ \t]*\n?(.*?)(?:```|~~~|\Z)", re.DOTALL)
_ELEMENT: Final = re.compile(
    r"<([a-z][\w-]{0,30})(?:\s[^<>]{0,100})?>([^<>]*)</\1\s*>", re.IGNORECASE
)
_BOX: Final = re.compile(r"\\(?:boxed|text|mathrm)\s*\{([^{}\\]*)\}")
_ANSWER_ELEMENTS: Final = re.compile(
    r"prompt|answer|output|final|result|response|expan", re.IGNORECASE
)

_KEYS: Final = (
    *("expandedprompt", "expanded", "enhancedprompt", "enhanced", "improvedprompt", "richprompt"),
    *("rewrittenprompt", "finalprompt", "videoprompt", "positiveprompt", "positive", "prompt"),
    *("output", "result", "finalanswer", "answer", "response", "description", "caption", "text"),
    *("content", "final", "data", "message"),
)
"""Names under which models put the answer, the surest first."""

_BAD_KEYS: Final = frozenset({"error", "errors", "refusal", "detail", "traceback"})
_DEEPEST: Final = 8


def unfenced(text: str) -> str:
    """Return the inside of the first code block; `text` itself where there is none."""
    fence = _FENCE.search(text)
    return fence[1] if fence else text


def unboxed(text: str) -> str:
    r"""Return the inside of LaTeX's `\\boxed{…}`; `text` itself where there is none."""
    box = _BOX.search(text)
    return box[1] if box else text


def only_element(text: str) -> str:
    """Return the inside of the only XML element, or of the only one that is named like an answer.

    Returns:
        `text` itself when there is no such element, or when there are several.
    """
    if "<" not in text:
        return text
    elements = _ELEMENT.findall(text)
    if len(elements) > 1:
        elements = [item for item in elements if _ANSWER_ELEMENTS.search(item[0])]
    return str(elements[0][1]) if len(elements) == 1 else text


def only_string(text: str) -> str:
    """Return the one description that the JSON at the start of `text` holds.

    Returns:
        `text` itself when it is no JSON, or when it is not clear which string is meant.
    """
    if not text.startswith(("{", "[", '"')):
        return text
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return text
    rest = text[end:].strip()
    if rest and (text.startswith('"') or rest.startswith(("{", "[", ",", '"', "}", "]"))):
        return text
    found = _description(value, _DEEPEST)
    return text if found is None else found


def _description(value: Any, depth: int) -> str | None:
    if isinstance(value, str):
        return value
    if depth == 0:
        return None
    if isinstance(value, list):
        return _description(value[0], depth - 1) if len(value) == 1 else None
    if not isinstance(value, dict):
        return None
    named = {re.sub(r"[\W_]", "", key.casefold()): item for key, item in value.items()}
    if _BAD_KEYS.intersection(named):
        return None
    for key in _KEYS:
        if key in named:
            return _description(named[key], depth - 1)
    inside = [item for item in named.values() if isinstance(item, str | list | dict)]
    return _description(inside[0], depth - 1) if len(inside) == 1 else None
