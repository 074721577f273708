"""Turn a chat model's reply into the prompt it means.

Nothing here decides whether the result is any good: what cannot be taken apart is left as it is,
and `prompt_expansion.validation` refuses it.
"""

import re
import unicodedata
from typing import Final

from prompt_expansion.reasoning import strip_reasoning
from prompt_expansion.structured import only_element, only_string, unboxed, unfenced
from prompt_expansion.turns import assistant_turn
from prompt_expansion.words import significant, split_words

# DeepSeek's tokens have a fullwidth bar, Chinese models write fullwidth colons and commas.
_HALF_WIDTH: Final = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)}

_LONGEST_ANSWER: Final = 4_000
"""Characters of an answer that are looked at; a prompt of 77 tokens needs a tenth of it."""

_MOST_LAYERS: Final = 8
"""Number of wrappings, one inside the other, that are taken off."""

_LONGEST_HEADING: Final = 60

_LABEL: Final = (
    r"(?:the\ )?(?:(?:expanded|final|enhanced|improved|new|rewritten|revised|richer|full|video|"
    r"text-to-video|positive)[\ _])*"
    r"(?:prompt|output|answer|result|response|description|version|variation|variant|option)"
    r"(?:\ ?\#?\d{1,2})?"
)
_PREAMBLE: Final = re.compile(
    rf"""
    ^[*_\#\s]*
    (?: (?:sure|certainly|of\ course|absolutely|okay|ok|great)(?:\ thing)?[,.!:]+ \s* )?
    (?: (?:here(?:['’]s|\ is|\ are|\ you\ go)|this\ is|below\ is)\b [^:\n]{{0,80}} (?: : | \n )
      | {_LABEL}\s{{0,3}}[*_]{{0,3}}\s?:
    )?
    [*_\s]*
    """,
    re.VERBOSE | re.IGNORECASE,
)
_INTRODUCTION: Final = re.compile(r"[^\n]{0,200}:\s*\n\s*(?=\S)")
_FINAL_LABEL: Final = re.compile(
    r"\n[\s*_#>-]*(?:here(?:'s|\sis)\s(?:my|the)\s)?(?:(?:final|expanded|enhanced|improved|rewritten|revised|richer)\s(?:prompt|answer|"
    r"output|response|description|version)|answer|response)\s?[*_]*:",
    re.IGNORECASE,
)
_AFTERWORD: Final = re.compile(
    r"(?:let me know|i hope|hope this|feel free|note:|would you like|do you want|this prompt)",
    re.IGNORECASE,
)
_RULE: Final = re.compile(r"\s*(?:[-=*_~]\s?){3,}\s*")
_LABELLED_LINE: Final = re.compile(r"[\W_]{0,6}[^\W\d][\w /'-]{0,40}[\W_]{0,4}?:")
_MARKER: Final = re.compile(
    r"[*_]{0,2}(?:[-*•‣◦●▪–—+·>]|\(?\d{1,2}[.)、]|\(?[a-z][.)]|[①-⑳])[*_]{0,2}\s+", re.IGNORECASE
)
_WORD_COUNT: Final = re.compile(
    r"\s*[(\[(][^()\[\]]{0,20}\d\s*(?:words?|tokens?|characters?|chars)[^()\[\]]{0,10}[)\])]\.?\s*$",
    re.IGNORECASE,
)
_WRAPPERS: Final = (
    *(('"""', '"""'), ("```", "```"), ("***", "***"), ("**", "**"), ("__", "__"), ("~~", "~~")),
    *(('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"), ("„", "“"), ("«", "»"), ("‹", "›")),
    *(("「", "」"), ("『", "』"), ("``", "''"), ("`", "`"), ("*", "*"), ("_", "_")),
    *(("(", ")"), ("[", "]"), ("$", "$")),
)


def clean_reply(reply: str) -> str:
    """Strip reasoning, template tokens, code fences, JSON, chatter, quotes and line breaks.

    Returns:
        One line; empty when nothing is left.
    """
    reply = reply.translate(_HALF_WIDTH)
    text = assistant_turn(strip_reasoning(reply).strip()[:_LONGEST_ANSWER])
    if label := _FINAL_LABEL.search(text):
        text = text[label.end() :]
    for _ in range(_MOST_LAYERS):
        inner = _without_one_layer(text.strip())
        if inner == text:
            break
        text = inner
    text = _WORD_COUNT.sub("", _first_description(text))
    return _one_line(_unwrap(_only_visible(text).strip()))


def _without_one_layer(text: str) -> str:
    """Take off the outermost wrapping, whatever it is."""
    for strip in (unfenced, only_string, only_element, unboxed, _unwrap, _without_heading):
        inner = strip(text).strip()
        if inner != text:
            return inner
    return _after_label(text).strip()


def _without_heading(text: str) -> str:
    """Drop what stands above the description: a heading, a rule, a list's mark."""
    first, _, rest = text.partition("\n")
    second, _, below = rest.partition("\n")
    if rest.strip():
        if first.startswith("#") or _RULE.fullmatch(first):
            return rest
        if second.strip() and _RULE.fullmatch(second) and below.strip():
            return below
        emphasised = first.startswith(("*", "_")) and _unwrap(first.strip()) != first.strip()
        if emphasised and len(first) < _LONGEST_HEADING and not second.strip():
            return rest
    return _MARKER.sub("", text, count=1) if _MARKER.match(text) else text


def _after_label(text: str) -> str:
    if introduction := _INTRODUCTION.match(text):
        return text[introduction.end() :]
    return _PREAMBLE.sub("", text, count=1)


def _first_description(text: str) -> str:
    """Return the first paragraph, up to where something else begins."""
    lines: list[str] = []
    for line in text.strip().splitlines():
        if not line.strip() or _RULE.fullmatch(line) or _AFTERWORD.match(line):
            break
        if lines and _begins_something_else(line.strip(), lines):
            break
        lines.append(line.strip())
    return " ".join(lines)


def _begins_something_else(line: str, before: list[str]) -> bool:
    """Return whether a line is a label, heading, item or other variant, and no continuation."""
    return bool(
        line.startswith("#")
        or _LABELLED_LINE.match(line)
        or _MARKER.match(line)
        or (line[0].isupper() and before[-1][-1].isalnum())
        or significant(split_words(line))[:2] == significant(split_words(before[0]))[:2]
    )


def _unwrap(text: str) -> str:
    for left, right in _WRAPPERS:
        whole = text[:-1] if text.endswith((f"{right}.", f"{right},")) else text
        inner = whole[len(left) : -len(right)]
        closed = len(whole) >= len(left + right) and whole.startswith(left)
        if closed and whole.endswith(right) and left not in inner and right not in inner:
            return inner.strip()
    return text


def _only_visible(text: str) -> str:
    """Drop characters that format and are not seen, such as zero-width spaces."""
    return "".join(character for character in text if unicodedata.category(character) != "Cf")


def _one_line(text: str) -> str:
    visible = "".join(
        " " if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} else character
        for character in text
    )
    return " ".join(visible.split())
