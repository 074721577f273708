"""Detection of a prompt's language by its script and a few small words."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import Final

_SCRIPTS: Final = {
    "ARABIC": "ar",
    "CJK": "zh",
    "CYRILLIC": "ru",
    "DEVANAGARI": "hi",
    "GREEK": "el",
    "HANGUL": "ko",
    "HEBREW": "he",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "LATIN": "latin",
    "THAI": "th",
}
# English first: it wins a draw.
_SMALL_WORDS: Final = {
    "en": frozenset({"a", "an", "and", "at", "in", "no", "of", "on", "the", "to", "with"}),
    "de": frozenset({"auf", "das", "dem", "den", "der", "ein", "eine", "im", "mit", "und", "zwei"}),
    "es": frozenset({"con", "del", "dos", "el", "en", "la", "los", "por", "un", "una", "y"}),
    "fr": frozenset({"au", "avec", "dans", "des", "et", "la", "le", "les", "sous", "un", "une"}),
    "it": frozenset({"con", "di", "due", "e", "il", "la", "nel", "per", "sul", "un", "una"}),
    "pt": frozenset({"ao", "com", "da", "do", "dois", "e", "na", "no", "os", "um", "uma"}),
}


def detect_language(text: str) -> str:
    """Return an ISO 639-1 code, or `und` when the text does not tell.

    Scripts that several languages share are given to the largest of them (Cyrillic: `ru`). Latin
    script is `en` unless small words of one of five other languages outnumber the English ones;
    with letters beyond ASCII and no small word at all it is `und`.
    """
    text = unicodedata.normalize("NFKC", text)
    scripts = Counter(
        language for character in text if character.isalpha() and (language := _script(character))
    )
    if scripts["ja"]:
        # Japanese mixes both, Chinese has no kana.
        scripts["ja"] += scripts.pop("zh", 0)
    if not scripts:
        return "und"
    language, _ = max(scripts.items(), key=lambda item: item[1])
    return _latin_language(text) if language == "latin" else language


def _script(character: str) -> str | None:
    return _SCRIPTS.get(unicodedata.name(character, "").split(" ")[0].split("-")[0])


def _latin_language(text: str) -> str:
    words = Counter(text.casefold().split())
    hits = {
        language: sum(words[word] for word in small) for language, small in _SMALL_WORDS.items()
    }
    best = max(hits, key=lambda language: hits[language])
    if hits[best]:
        return best
    return "en" if text.isascii() else "und"
