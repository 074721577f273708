"""Compare the numbers of things in two texts."""

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Final

from prompt_expansion.words import COLOURS, NUMBERS, STOP_WORDS, stem

_ONE: Final = frozenset({"a", "an", "another", "single", "lone"})
_MANY: Final = frozenset(
    "many several few multiple numerous dozen dozens hundreds thousands countless various".split()
)
_REACH: Final = 3
"""Number of words after a number within which the thing may stand that is counted."""


def other_number(asked: Sequence[str], given: Sequence[str]) -> str | None:
    """Return the first number in `given` that differs from the user's for the same thing.

    Args:
        asked: The user's words.
        given: The expansion's words.
    """
    exact = {_value(word) for word in asked if _is_number(word)}
    wanted: dict[str, set[str]] = {}
    for number, thing in _counted(asked, _is_number):
        wanted.setdefault(thing, set()).add(_value(number))
    for number, thing in _counted(given, lambda word: _is_number(word) or word in _MANY):
        if thing in wanted and _value(number) not in wanted[thing]:
            return number
    new = [word for word in given if _is_number(word) and _value(word) not in exact]
    lost = exact - {_value(word) for word in given}
    if lost and new:
        return new[0]
    return _other_than_one(asked, given) or _only_one(wanted, given, lost)


def _other_than_one(asked: Sequence[str], given: Sequence[str]) -> str | None:
    """A number above one for something of which the user named one: "a cat", "three cats"."""
    ones = {thing for _, thing in _named_once(asked)}
    for number, thing in _counted(given, _is_number):
        if thing in ones and _value(number) not in {"zero", "one"} and number not in asked:
            return number
    return None


def _only_one(wanted: dict[str, set[str]], given: Sequence[str], lost: set[str]) -> str | None:
    """One thing where the user asked for more, and their number is nowhere."""
    for article, thing in _named_once(given):
        if wanted.get(thing, set()) & (lost - {"one"}):
            return article
    return None


def _named_once(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each "a" with the word it belongs to, a colour between them left out."""
    for index, word in enumerate(words):
        if word in _ONE:
            group = takewhile(lambda other: other not in STOP_WORDS, words[index + 1 :])
            thing = next((other for other in group if other not in COLOURS), None)
            if thing is not None:
                yield word, stem(thing)


def _counted(words: Sequence[str], counts: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Each number with the stems of what it may count."""
    for index, word in enumerate(words):
        if counts(word):
            things = takewhile(lambda other: other not in STOP_WORDS, words[index + 1 :])
            for place, thing in enumerate(things):
                if place >= _REACH or _is_number(thing):
                    break
                yield word, stem(thing)


def _is_number(word: str) -> bool:
    return word in NUMBERS or (word.isascii() and word.isdigit())


def _value(word: str) -> str:
    """A number's word where it has one, so that "3" and "three" are the same."""
    return stem(word) if _is_number(word) else word
