"""From settings to a backend."""

from prompt_expansion.interface import PromptExpander
from prompt_expansion.no_op import NoOpExpander
from prompt_expansion.offline import OfflineExpander
from prompt_expansion.settings import ExpansionSettings
from prompt_expansion.tokens import TokenCounter, estimate_tokens


def make_expander(
    settings: ExpansionSettings, count_tokens: TokenCounter = estimate_tokens
) -> PromptExpander:
    """Make the backend that ``settings`` name. Touches no network.

    Args:
        settings: Validated settings.
        count_tokens: Text to CLIP tokens; a tokenizer's exact count may replace the estimate.
    """
    if settings.backend == "openai":
        # The OpenAI SDK takes a while to import; only this backend needs it.
        from prompt_expansion.server import ServerExpander

        return ServerExpander(settings, count_tokens)
    if settings.backend == "offline":
        return OfflineExpander(count_tokens)
    return NoOpExpander(count_tokens)
