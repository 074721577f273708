"""The settings of the bot, from `bot.toml`, the environment and the command line."""

from bot.settings.errors import SettingsError
from bot.settings.model import (
    DiscordSettings,
    EngineSection,
    ExpansionSection,
    LimitSettings,
    LoraSettings,
    ModelSettings,
    PreviewSettings,
    Settings,
)
from bot.settings.service import (
    DatabaseSettings,
    LogSettings,
    OperationsSettings,
    RetentionSettings,
)

__all__ = [
    "DatabaseSettings",
    "DiscordSettings",
    "EngineSection",
    "ExpansionSection",
    "LimitSettings",
    "LogSettings",
    "LoraSettings",
    "ModelSettings",
    "OperationsSettings",
    "PreviewSettings",
    "RetentionSettings",
    "Settings",
    "SettingsError",
]
