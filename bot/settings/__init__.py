"""The settings of the bot, from `bot.toml`, the environment and the command line."""

from bot.settings.errors import SettingsError
from bot.settings.model import EngineSection, LoraSettings, Settings
from bot.settings.service import LogSettings, OperationsSettings, RetentionSettings

__all__ = [
    "EngineSection",
    "LogSettings",
    "LoraSettings",
    "OperationsSettings",
    "RetentionSettings",
    "Settings",
    "SettingsError",
]
