"""Check that an expansion still says what the user said.

Looks at words only. That is enough to catch what small language models do most: forget a word, turn
a direction round, paint a thing in another colour, or drop a "no". A doubtful case counts as a
contradiction, because the user's own words are always good enough.
"""

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Final

from prompt_expansion.quantities import other_number
from prompt_expansion.words import COLOURS, PUNCTUATION, STOP_WORDS, negates, split_words, stem

_DIRECTIONS: Final = (
    ({"left", "leftward", "leftwards"}, {"right", "rightward", "rightwards"}),
    ({"up", "upward", "upwards"}, {"down", "downward", "downwards"}),
    ({"clockwise"}, {"counterclockwise", "counter-clockwise", "anticlockwise", "anti-clockwise"}),
    ({"forward", "forwards"}, {"backward", "backwards"}),
    ({"toward", "towards"}, {"away"}),
)
_CHANGES: Final = (
    ({"rising", "rises", "rise", "ascending"}, {"falling", "falls", "fall", "descending"}),
    ({"approaching", "approaches"}, {"receding", "recedes"}),
    ({"growing", "grows"}, {"shrinking", "shrinks"}),
    ({"opening", "opens"}, {"closing", "closes"}),
)
_REACH: Final = 3
"""Number of words between a colour or a negation and the word that it may belong to."""


def preserves_keywords(original: str, expanded: str) -> bool:
    """Return whether ``expanded`` has every significant word of the user; endings may differ.

    In scripts without spaces a run of letters counts as one word, and a prompt without any word
    (only emoji, say) must be there whole.
    """
    wanted = [word for word in split_words(original) if word not in STOP_WORDS]
    if not wanted:
        return original.strip() in expanded
    given = {stem(word) for word in split_words(expanded)}
    return all(
        stem(word) in given or (not word.isascii() and word in expanded.casefold())
        for word in wanted
    )


def find_contradiction(original: str, expanded: str) -> str | None:
    """Return the first word of ``expanded`` that goes against ``original``, or None."""
    asked, given = split_words(original), split_words(expanded)
    return (
        _turned_direction(asked, given)
        or _reversed_change(asked, given)
        or _other_colour(asked, given)
        or other_number(asked, given)
        or _dropped_negation(asked, given)
        or _denied(asked, given)
    )


def _turned_direction(asked: Sequence[str], given: Sequence[str]) -> str | None:
    for wanted, opposite in _one_sided(_DIRECTIONS, asked):
        for index, word in enumerate(given):
            if word not in opposite:
                continue
            # "from the right", "right to left": the other side is only where it starts.
            starts_there = "from" in given[max(0, index - 2) : index] or (
                list(given[index + 1 : index + 2]) == ["to"]
                and wanted.intersection(given[index + 2 : index + 4])
            )
            if not starts_there:
                return word
    return None


def _reversed_change(asked: Sequence[str], given: Sequence[str]) -> str | None:
    """Another thing may well do the opposite, so only a change that replaced the user's counts."""
    for wanted, opposite in _one_sided(_CHANGES, asked):
        if not wanted.intersection(given):
            turned = next((word for word in given if word in opposite), None)
            if turned:
                return turned
    return None


def _one_sided(
    pairs: Sequence[tuple[set[str], set[str]]], asked: Sequence[str]
) -> Iterator[tuple[set[str], set[str]]]:
    """Yield the pairs of which the user named one side only, that side first."""
    for one, other in pairs:
        for wanted, opposite in ((one, other), (other, one)):
            if wanted.intersection(asked) and not opposite.intersection(asked):
                yield wanted, opposite


def _other_colour(asked: Sequence[str], given: Sequence[str]) -> str | None:
    asked_colours = {stem(word) for word in asked if word in COLOURS}
    given_colours = [word for word in given if word in COLOURS]
    new_colours = [word for word in given_colours if stem(word) not in asked_colours]
    if asked_colours - {stem(word) for word in given_colours} and new_colours:
        return new_colours[0]
    wanted: dict[str, set[str]] = {}
    for colour, thing in _coloured(asked):
        wanted.setdefault(thing, set()).add(stem(colour))
    for colour, thing in _coloured(given):
        if thing in wanted and stem(colour) not in wanted[thing]:
            return colour
    return None


def _coloured(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each colour with the stems of what it may belong to, "black and white cat" included."""
    for index, word in enumerate(words):
        if word in COLOURS:
            after = [other for other in words[index + 1 :] if other not in COLOURS | {"and"}]
            for thing in takewhile(lambda other: other not in STOP_WORDS, after[:_REACH]):
                yield word, stem(thing)


def _dropped_negation(asked: Sequence[str], given: Sequence[str]) -> str | None:
    for index, negation in enumerate(asked):
        if not negates(negation):
            continue
        following = asked[index + 1 : index + 1 + _REACH]
        denied = next((stem(word) for word in following if word not in STOP_WORDS), None)
        for place, word in enumerate(given):
            before = given[max(0, place - _REACH) : place]
            if stem(word) == denied and not any(negates(other) for other in before):
                return word
    return None


def _denied(asked: Sequence[str], given: Sequence[str]) -> str | None:
    """A word that the user asserted and the expansion denies: "blood", then "no blood"."""
    denied = {stem(word) for word in _after_negations(asked)}
    asserted = {stem(word) for word in asked if word not in STOP_WORDS} - denied
    return next((word for word in _after_negations(given) if stem(word) in asserted), None)


def _after_negations(words: Sequence[str]) -> Iterator[str]:
    """The words that a negation belongs to, as far as it reaches within its clause."""
    for index, negation in enumerate(words):
        if negates(negation):
            clause = takewhile(lambda word: word not in PUNCTUATION, words[index + 1 :])
            for place, word in enumerate(clause):
                if place >= _REACH:
                    break
                if word not in STOP_WORDS:
                    yield word
