"""Check the requirements for the bot to start, and explain in one line why it cannot."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import aiohttp
import discord

from bot.errors import BotError
from bot.files import make_private_folder
from bot.lifecycle.login import AnswerUnreadableError
from bot.lifecycle.token_watch import TOKEN_REFUSED
from bot.operations.http import OperationsServerError
from bot.settings import Settings
from bot.store import StoreError
from engine.serving import EngineSettingsError
from engine.serving.media.mp4 import EncoderMissingError, find_ffmpeg
from prompt_expansion import ExpansionSettingsError

SETTINGS_ERRORS: Final = (EngineSettingsError, ExpansionSettingsError)
"""Raised by parts of the bot for settings that only they can check."""


_INTENTS_REFUSED: Final = (
    "Discord refused the intents that this bot asks for; look under "
    "https://discord.com/developers/applications, page Bot, for the intents of this application"
)
_CLOSED: Final = {
    4004: TOKEN_REFUSED,
    4010: "Discord refused the connection: the shard number is invalid",
    4011: "Discord refused the connection: the bot is in too many servers for one shard, and it "
    "cannot run several; remove it from some servers",
    4012: "Discord refused the connection: this version of discord.py is too old; update Floor33",
    4013: _INTENTS_REFUSED,
    4014: _INTENTS_REFUSED,
}
"""Meanings of the gateway's close codes after which reconnecting is not allowed."""


class StartupError(BotError):
    """The bot cannot start; one line with what to do."""


def check_requirements(settings: Settings) -> None:
    """Raise StartupError where no clip could be rendered or stored."""
    try:
        find_ffmpeg()
    except EncoderMissingError as error:
        raise StartupError(
            f"ffmpeg is missing or incomplete ({error}); install imageio-ffmpeg again, or ffmpeg "
            "itself with libx264"
        ) from error
    check_folder(settings.data_dir)


def check_folder(folder: Path) -> None:
    """Create the data folder if it is missing. Raises StartupError if it cannot be written to."""
    try:
        make_private_folder(folder)
    except OSError as error:
        raise StartupError(f"data_dir {folder}: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartupError(f"data_dir {folder}: not writable")


def explain(error: Exception) -> str | None:
    """Return the line for an error that ends the start, or None for a bug."""
    match error:
        case StartupError() | StoreError() | OperationsServerError():
            return str(error)
        case EngineSettingsError():
            return f"engine.{error}"
        case ExpansionSettingsError():
            return f"expansion.{error}"
        case discord.LoginFailure():
            return TOKEN_REFUSED
        case discord.ConnectionClosed():
            return _CLOSED.get(error.code, f"Discord closed the connection: {error}")
        case discord.PrivilegedIntentsRequired():
            return _CLOSED[4014]
        case AnswerUnreadableError():
            return (
                f"an answer of Discord's cannot be read ({error}); is there a proxy in between "
                "that answers in its place?"
            )
        case discord.HTTPException() | discord.GatewayNotFound():
            return f"Discord answered with an error: {error}"
        case aiohttp.ClientError() | TimeoutError():
            return f"Discord cannot be reached: {error}"
        case OSError():
            return str(error)
        case _:
            return None
