"""The worked examples of docs/extending.md run in the same surroundings as the bot's own tests."""

from tests.bot.conftest import _own_surroundings, models, overrides

__all__ = ["_own_surroundings", "models", "overrides"]
