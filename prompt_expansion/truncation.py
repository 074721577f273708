"""Making a text fit CLIP's budget, by whole clauses where that is possible."""

import re
from typing import Final

from prompt_expansion.tokens import TOKEN_BUDGET, TokenCounter

_CLAUSE_END: Final = re.compile(r"(?<=[,.;!?])\s+")


def truncate_to_budget(front: str, text: str, count_tokens: TokenCounter) -> str:
    """Put ``front`` before ``text``, less as many of its last clauses as the budget demands.

    Returns:
        The longest such text, cut between words where its first clause alone is too long; empty
        when not even one word fits.
    """
    clauses = _CLAUSE_END.split(text)
    return _longest(front, clauses, count_tokens) or _longest(
        front, clauses[0].split(), count_tokens
    )


def drop_last_clause(text: str) -> str:
    """Drop the clause that an answer was cut off in; if it is the only one, its last word."""
    clauses = _CLAUSE_END.split(text)
    if len(clauses) == 1:
        return _closed(text.rpartition(" ")[0])
    return _closed(" ".join(clauses[:-1]))


def without_repeats(text: str) -> str:
    """Drop clauses that were said before, which is how small models loop."""
    unique: dict[str, str] = {}
    for clause in _CLAUSE_END.split(text):
        unique.setdefault(clause.casefold().rstrip(",.;!?"), clause)
    return _closed(" ".join(unique.values()))


def _longest(front: str, parts: list[str], count_tokens: TokenCounter) -> str:
    for end in range(len(parts), 0, -1):
        shorter = front + _closed(" ".join(parts[:end]))
        if count_tokens(shorter) <= TOKEN_BUDGET:
            return shorter
    return ""


def _closed(text: str) -> str:
    return text.rstrip(" ,;")
