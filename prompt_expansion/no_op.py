"""No expansion: prompts stay as they are."""

from prompt_expansion.interface import Expansion
from prompt_expansion.language import detect_language
from prompt_expansion.tokens import TokenCounter


class NoOpExpander:
    """Returns every prompt unchanged."""

    def __init__(self, count_tokens: TokenCounter) -> None:
        self._count_tokens = count_tokens

    async def expand(self, prompt: str) -> Expansion:
        """Return the prompt itself."""
        return Expansion(
            text=prompt,
            original=prompt,
            tokens=self._count_tokens(prompt),
            backend="none",
            language=detect_language(prompt),
        )

    async def close(self) -> None:
        """Nothing is held open."""
