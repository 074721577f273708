"""What whoever runs the bot can set, from `bot.toml`, the environment and the command line."""

from bot.settings.errors import SettingsError
from bot.settings.model import (
    DiscordSettings,
    EngineSettings,
    ExpansionSettings,
    LimitSettings,
    LogSettings,
    LoraSettings,
    ModelOptionSettings,
    ModelSettings,
    PreviewSettings,
    Settings,
)

__all__ = [
    "DiscordSettings",
    "EngineSettings",
    "ExpansionSettings",
    "LimitSettings",
    "LogSettings",
    "LoraSettings",
    "ModelOptionSettings",
    "ModelSettings",
    "PreviewSettings",
    "Settings",
    "SettingsError",
]
