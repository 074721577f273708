"""Expansion by a few rules: no server, no model, the same answer every time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from prompt_expansion.interface import Expansion
from prompt_expansion.language import detect_language
from prompt_expansion.tokens import TOKEN_BUDGET, TokenCounter

_LONG_ENOUGH: Final = 40
"""Tokens from which on a prompt is taken to say what its author wants said."""

_SENTENCE_ENDS: Final = (".", "!", "?", ",", ";", "。", "!", "?", ",")


@dataclass(frozen=True, slots=True)
class _Rule:
    """Adds `term` to prompts that say nothing of the matter themselves."""

    term: str
    said_already: re.Pattern[str]


def _rule(term: str, *stems: str) -> _Rule:
    return _Rule(term, re.compile(rf"\b(?:{'|'.join(stems)})", re.IGNORECASE))


_RULES: Final = (
    _rule(
        "smooth natural motion",
        *("motion", "slow", "fast", "still", "static", "freez", "frozen", "time-?lapse", "jerky"),
    ),
    _rule(
        "steady camera",
        *("camera", "shot", "drone", "close-?up", "pan(?:s|ning)?\\b", "zoom", "dolly", "aerial"),
        *("hand-?held", "shak", "view", "pov\\b", "tracking", "cinematic"),
    ),
    _rule(
        "soft even light",
        *("light", "lit\\b", "night", "dark", "neon", "sun", "dusk", "dawn", "shadow", "glow"),
        *("black and white", "noir", "silhouette", "candle", "moon", "storm", "underwater"),
    ),
    _rule(
        "clear detail",
        *("detail", "blur", "bokeh", "sharp", "focus", "fog", "mist", "haz[ye]", "style", "grain"),
        *("watercolou?r", "paint", "sketch", "drawing", "cartoon", "anime", "pixel", "abstract"),
    ),
)


class OfflineExpander:
    """Adds neutral words about motion, camera, light and detail to short prompts.

    The prompt stays in front, letter for letter. A matter it speaks of itself is left to it, and
    nothing is added that would take the text past CLIP's budget.
    """

    def __init__(self, count_tokens: TokenCounter) -> None:
        self._count_tokens = count_tokens

    async def expand(self, prompt: str) -> Expansion:
        """Expand one prompt; never fails."""
        text = self._enrich(prompt)
        return Expansion(
            text=text,
            original=prompt,
            tokens=self._count_tokens(text),
            backend="offline",
            language=detect_language(prompt),
        )

    async def close(self) -> None:
        """Nothing is held open."""

    def _enrich(self, prompt: str) -> str:
        if not prompt.strip() or self._count_tokens(prompt) >= _LONG_ENOUGH:
            return prompt
        text = prompt.rstrip()
        for rule in _RULES:
            if rule.said_already.search(prompt):
                continue
            separator = " " if text.endswith(_SENTENCE_ENDS) else ", "
            longer = f"{text}{separator}{rule.term}"
            if self._count_tokens(longer) <= TOKEN_BUDGET:
                text = longer
        return text
