"""The bot without Discord: a simulated server in a page of the local browser."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import simcord
from simcord.backend.errors import SetupError
from simcord.preview import Preview

from bot.app import Floor33Bot, create_bot
from bot.lifecycle.requirements import StartupError
from bot.settings import Settings

logger = logging.getLogger(__name__)

_RETRY_S: Final = 0.05
_SETTLE_S: Final = 30.0
_LEAVE_S: Final = 5.0
# Whatever changes what a channel shows.
_CHANGES: Final = (
    "message",
    "raw_message_edit",
    "raw_message_delete",
    "raw_reaction_add",
    "raw_reaction_remove",
    "raw_reaction_clear",
)


async def run_preview(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve the bot in a local page until it is closed there or this task is cancelled.

    `announce` is given the page's address, a secret of this run, once it can be opened. The data
    folder is the same as with Discord.

    Raises:
        StartupError: the page cannot be served as the settings want it.
        StoreError, EngineSettingsError, ExpansionSettingsError: as `Floor33Bot.setup_hook`.
    """
    bot = create_bot(_without_dev_guild(settings))
    env = simcord.Env(bot, check_errors=False, settle_timeout=_SETTLE_S)
    channel, viewers = _make_world(env)
    try:
        await env.start()
        with env.time_context():
            # Edits that follow an interaction need the simulated Discord's side of it.
            bot.background.use_context(contextvars.copy_context())
            changed = _watch(bot)
            preview = env.preview(
                channel, viewers=viewers, layout="channel", port=settings.preview.port
            )
            try:
                await preview.__aenter__()
            except SetupError as error:
                raise StartupError(f"the preview cannot be served: {error}") from error
            _end_if_told()
            announce(preview.url)
            await _serve(preview, changed, bot)
    finally:
        await bot.close()
        await _leave(env)
    if bot.failure is not None:
        raise StartupError(bot.failure)


def _make_world(env: simcord.Env) -> tuple[Any, list[Any]]:
    """A server with a channel and two people in it."""
    env.backend.bot_user.name = "Floor33"
    # The world comes first, and so has the same ids in every run: the database knows them.
    guild = env.create_guild("Floor33", owner=env.create_user("owner"))
    channel = guild.create_text_channel("studio")
    people = [guild.add_member(env.create_user(name)) for name in ("you", "guest")]
    # Messages get ids by the clock; those of an earlier run must not come again.
    env.backend.advance_clock((datetime.now(UTC) - env.now()).total_seconds())
    return channel, people


async def _leave(env: simcord.Env) -> None:
    """Close the page and the simulated Discord, but do not wait for a browser that is slow."""
    try:
        async with asyncio.timeout(_LEAVE_S):
            await env.shutdown()
    except TimeoutError:
        logger.debug("a request of the page was not waited for")


def _end_if_told() -> None:
    """Raise again the cancellation that a start in several tasks may have swallowed."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _without_dev_guild(settings: Settings) -> Settings:
    discord_settings = settings.discord.model_copy(update={"dev_guild_id": None})
    return settings.model_copy(update={"discord": discord_settings})


def _watch(bot: Any) -> asyncio.Event:
    changed = asyncio.Event()

    async def note(*_: object) -> None:
        changed.set()

    for event in _CHANGES:
        bot.add_listener(note, f"on_{event}")
    return changed


async def _serve(preview: Preview, changed: asyncio.Event, bot: Floor33Bot) -> None:
    """Until the page is closed or the bot has ended by itself."""
    republishing = asyncio.create_task(_republish(preview, changed))
    ends = [asyncio.create_task(preview.wait_closed()), asyncio.create_task(bot.ended.wait())]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (republishing, *ends):
            task.cancel()
        await asyncio.gather(republishing, *ends, return_exceptions=True)


async def _republish(preview: Preview, changed: asyncio.Event) -> None:
    """Publish what the bot changed by itself. Never on a timer: that would block the page."""
    while True:
        await changed.wait()
        changed.clear()
        if not await _refreshed(preview):
            changed.set()
            await asyncio.sleep(_RETRY_S)


async def _refreshed(preview: Preview) -> bool:
    try:
        await preview.refresh()
    except SetupError:
        return False  # the page is just doing something; what it publishes may be older than this
    except TimeoutError as error:
        logger.warning("the page was not brought up to date: %s", error)
    return True
