"""Characters that show nothing, and the places where they are needed all the same."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Unicode's Default_Ignorable_Code_Point, and others that are drawn as nothing: interlinear
# annotations, the object replacement character, the null notehead, the Khitan filler.
_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff0-\ufffc\U00016fe4\U0001bca0-\U0001bca3\U0001d159"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Letters and signs that are drawn as a gap: Hangul fillers, the empty braille pattern.
_GAPS: Final = re.compile("[\u115f\u1160\u2800\u3164\uffa0]")
# The flag of a part of a country, such as Scotland: a black flag with its code in tag letters.
_FLAG: Final = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")
_JOINERS: Final = frozenset("\u200c\u200d")
_SELECTORS: Final = re.compile("[\ufe00-\ufe0f\u180b-\u180d\u180f\U000e0100-\U000e01ef]")
# Letters without case (Arabic, the scripts of India, Mongolian, …) and the marks on them.
_CASELESS: Final = frozenset({"Lo", "Lm", "Mn", "Mc"})
_PICTURES: Final = frozenset({"So", "Sk", "Sm"})
_EMOJI: Final = range(0x1F000, 0x1FB00)  # those that Python's tables do not know yet are in here
_BASES: Final = frozenset({"Lo", "So", "Sm", "Po", "Pd", "Nd", "No"})
_INFORMATION: Final = "\u2139"  # the one emoji that is a letter with case


def visible(text: str) -> str:
    """The text without what shows nothing; characters drawn as a gap become a blank.

    Joiners stay between emoji and in scripts that write with them, variation selectors behind a
    character that can have one, tag letters in flags.
    """
    parts: list[str] = []
    start = 0
    for flag in _FLAG.finditer(text):
        parts += [_visible(text[start : flag.start()]), flag[0]]
        start = flag.end()
    return "".join([*parts, _visible(text[start:])])


def _visible(text: str) -> str:
    text = _GAPS.sub(" ", text)
    if _INVISIBLE.search(text) is None:
        return text
    kept: list[str] = []
    for index, character in enumerate(text):
        if _INVISIBLE.match(character) is None:
            kept.append(character)
        elif character in _JOINERS:
            if _joins(kept, text[index + 1 : index + 2]):
                kept.append(character)
        elif _SELECTORS.match(character) and _selects(kept):
            kept.append(character)
    return "".join(kept)


def _joins(before: list[str], after: str) -> bool:
    """Return whether a joiner between these is part of how something is written."""
    if not before or before[-1] in _JOINERS:
        return False
    if _SELECTORS.match(before[-1]):  # which is kept behind its base only
        return _is_picture(before[-2]) and _is_picture(after)
    if unicodedata.category(before[-1]) in _CASELESS:
        return True
    return _is_picture(before[-1]) and _is_picture(after)


def _is_picture(character: str) -> bool:
    if not character or _INVISIBLE.match(character):
        return False
    return ord(character) in _EMOJI or unicodedata.category(character) in _PICTURES


def _selects(before: list[str]) -> bool:
    """Return whether the character before a variation selector can have one."""
    if not before:
        return False
    last = before[-1]
    known = unicodedata.category(last) in _BASES or ord(last) in _EMOJI
    return known or last == _INFORMATION
