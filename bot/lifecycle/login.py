"""Answers of Discord's HTTP interface that are none: a page, nothing, or something else."""

from __future__ import annotations

from typing import Final

import aiohttp
import discord

from bot.errors import BotError

READING_ERRORS: Final = (LookupError, TypeError, ValueError, AttributeError)
"""discord.py raises these for an answer or event that has another form than it expects."""

REQUEST_ERRORS: Final = (
    discord.DiscordException,
    aiohttp.ClientError,
    OSError,
    RuntimeError,
    *READING_ERRORS,
)
"""Whatever a request to Discord may raise: refused, cut, or answered with something odd."""


class AnswerUnreadableError(BotError):
    """An answer of Discord's cannot be read; something in between may have given it."""
