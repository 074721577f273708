"""Decide whether a cleaned answer is one description of the user's clip and nothing else.

The answer of a chat server is not trusted. It has to look like a description; where that is in
doubt it is refused, because the user's own words are always good enough. What the user wrote
themselves is never held against an answer.
"""

import re
import unicodedata
from typing import Final

from prompt_expansion.faithful import find_contradiction, preserves_keywords
from prompt_expansion.instructions import repeats_example, repeats_instructions
from prompt_expansion.language import detect_language
from prompt_expansion.translation import mistranslation
from prompt_expansion.vocabulary import CHATTER, OPENINGS, PHRASES, REFUSALS, VISUAL
from prompt_expansion.words import (
    COLOURS,
    NUMBERS,
    PUNCTUATION,
    negates,
    significant,
    split_words,
    stem,
)

UNCLEAR: Final = "gave no clear description of the clip"
DECLINED: Final = "declined to answer"

_PLAIN_SIGNS: Final = frozenset(" ,.;:'’\"“”‘()-–—/&%°…+×½¼¾²³")
_FEWEST_WORDS: Final = 3
_LONGEST_WORD: Final = 30
_COLON: Final = re.compile(r"(?<!\d):|:(?!\d)")
_OPTION: Final = re.compile(r"(?:^|\s)--\w|\w/\w+/")
_HEADLESS: Final = frozenset("\"'“‘)(,.;:-–—/&%+")
_DIRECTION_WORDS: Final = frozenset(
    "left right up down forward backward moving away toward towards over under into out".split()
)


def find_problem(prompt: str, answer: str) -> str | None:
    """Return why `answer` cannot stand for the user's `prompt`; None when it can.

    Returns:
        Words that complete "The expansion server …".
    """
    asked, given = split_words(prompt), split_words(answer)
    if _refuses(prompt, answer):
        return DECLINED
    if [word for word in given if word not in PUNCTUATION] == [
        word for word in asked if word not in PUNCTUATION
    ]:
        return "added nothing to the prompt"
    if (
        _looks_odd(prompt, answer)
        or _talks(prompt, answer)
        or repeats_instructions(prompt, answer)
        or repeats_example(prompt, answer)
        or not _is_english(answer)
    ):
        return UNCLEAR
    if word := find_contradiction(prompt, answer):
        return f'contradicted the prompt ("{word}")'
    return _unrelated(prompt, answer)


def _refuses(prompt: str, answer: str) -> bool:
    wanted, text = (each.casefold().replace("’", "'") for each in (prompt, answer))
    return bool(
        (REFUSALS.words - set(split_words(prompt))).intersection(split_words(answer))
        or any(phrase in text and phrase not in wanted for phrase in REFUSALS.phrases)
    )


def _looks_odd(prompt: str, answer: str) -> bool:
    """Return whether the answer has characters, or sequences of them, that descriptions lack."""
    new = set(answer) - set(prompt)
    return (
        any(not (_is_latin(character) or character in _PLAIN_SIGNS) for character in new)
        or (answer[:1] in _HEADLESS and answer[:1] != prompt.lstrip()[:1])
        or ('"' in new and answer.count('"') % 2 == 1)
        or answer.count("(") != answer.count(")")
        or (":" in new and bool(_COLON.search(answer)))
        or (_OPTION.search(answer) is not None and _OPTION.search(prompt) is None)
        or any(len(word) > _LONGEST_WORD for word in answer.split() if word not in prompt)
    )


def _is_latin(character: str) -> bool:
    if character.isascii():
        return character.isalnum()
    return character.isalpha() and unicodedata.name(character, "").startswith("LATIN ")


def _talks(prompt: str, answer: str) -> bool:
    """Return whether the answer is too short, or speaks to somebody, of itself or of a prompt."""
    asked, given = split_words(prompt), split_words(answer)
    words = [word for word in given if word not in PUNCTUATION]
    known = set(asked)
    text = " ".join(words)
    return (
        len(words) < _FEWEST_WORDS
        or not (CHATTER - known).isdisjoint(given)
        or (words[0] in OPENINGS and words[0] not in known)
        or any(phrase.search(text) and not phrase.search(prompt.casefold()) for phrase in PHRASES)
        or any(word.endswith("assistant") for word in words if word not in known)
    )


def _is_english(answer: str) -> bool:
    language = detect_language(answer)
    return language == "en" or (language == "und" and _is_visual(split_words(answer)))


def _is_visual(given: list[str]) -> bool:
    """Return whether the answer speaks of camera, light, motion or mood, as it was asked to."""
    return not VISUAL.isdisjoint(given)


def _unrelated(prompt: str, answer: str) -> str | None:
    """Return why the answer may describe another clip than the user's; None if it seems not to."""
    asked, given = split_words(prompt), split_words(answer)
    stems = {stem(word) for word in given}
    shared = any(stem(word) in stems for word in _subjects(asked))
    if detect_language(prompt) == "en":
        # The instructions let it add nothing of this kind, and video models do not understand it.
        if not any(map(negates, asked)) and any(map(negates, given)):
            return UNCLEAR
        if not shared or not (preserves_keywords(prompt, answer) or _is_visual(given)):
            return "described something else"
        return None
    # Nothing can be compared with most other languages. What looks like a description all over
    # is taken for a translation then; the caller puts the user's own words in front of it.
    if wrong := mistranslation(prompt, given):
        return f'contradicted the prompt ("{wrong}")'
    if shared:
        return None
    has_subject = any(word not in VISUAL for word in significant(given))
    return None if has_subject and _is_visual(given) else "described something else"


def _subjects(asked: list[str]) -> list[str]:
    """The words that tell what a clip shows, or else all that are significant."""
    words = significant(asked)
    others = COLOURS | NUMBERS.keys() | _DIRECTION_WORDS
    return [word for word in words if not (word in others or negates(word))] or words
