"""The interface of all backends, and the expansion that they return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """A prompt for a video model, and where it came from.

    Attributes:
        text: What the model is to be given. Equal to `original` when nothing was added.
        original: The user's prompt, untouched.
        tokens: Size of `text` in CLIP tokens, start and end marks included.
        backend: Name of the backend that was asked.
        language: Language of `original`, see `prompt_expansion.language.detect_language`.
        fallback: One sentence saying why the user's own words are used; None when nothing failed.
    """

    text: str
    original: str
    tokens: int
    backend: str
    language: str
    fallback: str | None = None


class PromptExpander(Protocol):
    """A backend. It is made once, used for many prompts, also at the same time, and closed."""

    async def expand(self, prompt: str) -> Expansion:
        """Expand one prompt. Never raises for trouble of the backend, see `fallback`."""
        ...

    async def close(self) -> None:
        """Release connections. Expanding after this falls back to the user's own words."""
        ...
