"""The settings of the bot, from `bot.toml`, the environment and the command line."""

from bot.settings.errors import SettingsError
from bot.settings.model import (
    DiscordSettings,
    EngineSettings,
    ExpansionSettings,
    LimitSettings,
    LoraSettings,
    ModelOptionSettings,
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
    "EngineSettings",
    "ExpansionSettings",
    "LimitSettings",
    "LogSettings",
    "LoraSettings",
    "ModelOptionSettings",
    "ModelSettings",
    "OperationsSettings",
    "PreviewSettings",
    "RetentionSettings",
    "Settings",
    "SettingsError",
]
