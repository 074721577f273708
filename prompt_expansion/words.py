"""Split texts into words, and compare words whatever their endings."""

from __future__ import annotations

import re
from typing import Final

_WORD: Final = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*|[,.;:!?]")

STOP_WORDS: Final = frozenset(
    "a an and are as at be being by for from has have he her his i in is it its of on or she so "
    "some that the their them there they this to was were which while with , . ; : ! ?".split()
)
PUNCTUATION: Final = frozenset(",.;:!?")
NEGATIONS: Final = frozenset({"no", "not", "without", "never", "none", "nobody"})
COLOURS: Final = frozenset(
    "red orange yellow green blue purple violet pink brown black white grey gray cyan magenta "
    "turquoise gold golden silver crimson scarlet teal navy beige".split()
)
NUMBERS: Final = {
    word: number
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve".split()
    )
}
_SAME: Final = {"gray": "grey", "golden": "gold", "violet": "purple"} | {
    str(number): word for word, number in NUMBERS.items()
}


def split_words(text: str) -> list[str]:
    """Return the words and punctuation marks of `text` in lower case, in their order."""
    return [word.replace("’", "'") for word in _WORD.findall(text.casefold())]


def significant(words: list[str]) -> list[str]:
    """Return `words` without articles, pronouns, prepositions and punctuation."""
    return [word for word in words if word not in STOP_WORDS]


def negates(word: str) -> bool:
    """Return whether `word` denies what follows it."""
    return word in NEGATIONS or word.endswith("n't")


def stem(word: str) -> str:
    """Return a crude stem: enough for "surfs" and "surfing", "cats", "race" and "racing"."""
    word = _SAME.get(word, word)
    for ending in ("ing", "ies", "ed", "es", "s", "e"):
        shorter = word.removesuffix(ending)
        if shorter != word and len(shorter) >= 3:
            word = shorter + ("y" if ending == "ies" else "")
            break
    doubled = len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiouls"
    return word[:-1] if doubled else word
