"""What must be true before the bot starts, and the one line said when it is not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import aiohttp
import discord

from bot.files import make_private_folder
from bot.operations.http import OperationsServerError
from bot.settings import Settings
from bot.store import StoreError
from engine.serving import EngineSettingsError
from engine.serving.encode import EncoderMissingError, find_ffmpeg
from prompt_expansion import ExpansionSettingsError

SETTINGS_ERRORS: Final = (EngineSettingsError, ExpansionSettingsError)
"""What the parts of the bot raise for settings that the settings themselves cannot check."""


class StartupError(Exception):
    """The bot cannot start; one line with what to do."""


def check_requirements(settings: Settings) -> None:
    """Refuse to start where no clip could be made or kept. Raises StartupError."""
    try:
        find_ffmpeg()
    except EncoderMissingError as error:
        raise StartupError(
            f"ffmpeg is missing ({error}); install imageio-ffmpeg again, or ffmpeg itself"
        ) from error
    check_folder(settings.data_dir)


def check_folder(folder: Path) -> None:
    """Make the data folder if need be. Raises StartupError if it cannot be written to."""
    try:
        make_private_folder(folder)
    except OSError as error:
        raise StartupError(f"data_dir {folder}: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartupError(f"data_dir {folder}: not writable")


def explain(error: Exception) -> str | None:
    """The one line for an error that ends the start, or None if it is a fault of ours."""
    match error:
        case StartupError() | StoreError() | OperationsServerError():
            return str(error)
        case EngineSettingsError():
            return f"engine.{error}"
        case ExpansionSettingsError():
            return f"expansion.{error}"
        case discord.LoginFailure():
            return (
                "Discord refused DISCORD_TOKEN; make a new one under "
                "https://discord.com/developers/applications, page Bot"
            )
        case discord.ConnectionClosed():
            return f"Discord closed the connection: {error}"
        case discord.HTTPException() | discord.GatewayNotFound():
            return f"Discord answered with an error: {error}"
        case aiohttp.ClientConnectionError() | TimeoutError():
            return f"Discord cannot be reached: {error}"
        case OSError():
            return str(error)
        case _:
            return None
