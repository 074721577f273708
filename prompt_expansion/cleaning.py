"""From what a chat model says to the prompt it means."""

import json
import re
import unicodedata
from typing import Final

_THINKING: Final = re.compile(
    r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE
)
_FENCE: Final = re.compile(r"```[\w-]*[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_PREAMBLE: Final = re.compile(
    r"""
    ^[*_#\s]*
    (?: (?:sure|certainly|of\ course|absolutely|okay|ok|great)(?:\ thing)?[,.!:]+ \s* )?
    (?: (?:here(?:['’]s|\ is|\ are)|this\ is|below\ is)\b [^:\n]{0,80} (?: : | \n )
      | (?:the\ )? (?:(?:expanded|final|enhanced|improved|new|rewritten)\ )?
        (?:prompt|output|answer|result|response|description)\s*:
    )?
    [*_\s]*
    """,
    re.VERBOSE | re.IGNORECASE,
)
_AFTERWORD: Final = re.compile(
    r"(?:let me know|i hope|hope this|feel free|note:|would you like|do you want|this prompt)",
    re.IGNORECASE,
)
_REFUSAL: Final = re.compile(
    r"(?:i['’]?m |i am )?(?:sorry|unable to)\b|i (?:cannot|can['’]?t|won['’]?t)\b|as an ai\b",
    re.IGNORECASE,
)
_WRAPPERS: Final = (
    ('"', '"'),
    ("'", "'"),
    ("“", "”"),
    ("‘", "’"),
    ("«", "»"),
    ("`", "`"),
    ("**", "**"),
)


def clean_reply(reply: str) -> str:
    """Strip thinking, code fences, JSON, chatter, quotes and line breaks from a model's reply.

    Returns:
        One line; empty when nothing is left.
    """
    text = _THINKING.sub("", reply)
    if fence := _FENCE.search(text):
        text = fence.group(1)
    text = _unwrap(_only_string(text.strip()))
    text = _PREAMBLE.sub("", text, count=1)
    text = _first_description(text)
    return _one_line(_unwrap(_only_string(text)))


def is_refusal(text: str) -> bool:
    """Whether a cleaned reply declines instead of describing a clip."""
    return bool(_REFUSAL.match(text))


def _only_string(text: str) -> str:
    """The string that ``text`` is in JSON, alone or in an object with one; else the text itself."""
    if not text.startswith(("{", '"')):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, dict):
        strings = [item for item in value.values() if isinstance(item, str)]
        value = strings[0] if len(strings) == 1 else None
    return value if isinstance(value, str) else text


def _first_description(text: str) -> str:
    """The first paragraph, up to where the model begins to talk about its answer."""
    lines: list[str] = []
    for line in text.strip().splitlines():
        if _AFTERWORD.match(line) or not line.strip():
            break
        lines.append(line.strip())
    return " ".join(lines)


def _unwrap(text: str) -> str:
    for left, right in _WRAPPERS:
        inner = text[len(left) : -len(right)]
        whole = len(text) >= len(left + right) and text.startswith(left) and text.endswith(right)
        if whole and left not in inner and right not in inner:
            return inner.strip()
    return text


def _one_line(text: str) -> str:
    visible = "".join(
        " " if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} else character
        for character in text
    )
    return " ".join(visible.split())
