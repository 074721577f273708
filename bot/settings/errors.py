"""SettingsError, the error about a value of the settings."""

from __future__ import annotations

from bot.errors import BotError


class SettingsError(BotError):
    """A setting cannot be used. One line: its place, its key, its value, the allowed values."""

    def __init__(self, key: str, message: str) -> None:
        """`key` is the dotted key (or the file or variable at fault), `message` the whole line."""
        super().__init__(message)
        self.key = key
        self.message = message
