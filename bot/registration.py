"""Telling Discord which commands there are: a deliberate act, since Discord counts each one."""

from __future__ import annotations

import logging
from typing import Any

import discord
from discord import app_commands

logger = logging.getLogger(__name__)


async def sync_commands(tree: app_commands.CommandTree[Any], guild_id: int | None) -> int:
    """Replace Discord's list of the commands, everywhere or in one server; how many there are.

    Raises:
        discord.HTTPException: Discord refused, e.g. because the bot is not in the server.
    """
    if guild_id is None:
        return len(await tree.sync())
    guild = discord.Object(guild_id)
    tree.copy_global_to(guild=guild)
    return len(await tree.sync(guild=guild))


async def register_commands(tree: app_commands.CommandTree[Any], dev_guild_id: int | None) -> None:
    """At start: sync to the development server, if there is one.

    Elsewhere an application that has no command yet gets them once; one whose list is out of date
    is only reported, for `python -m bot sync`.
    """
    try:
        if dev_guild_id is not None:
            count = await sync_commands(tree, dev_guild_id)
            logger.info("%d commands synced to the development server", count)
            return
        known = {command.name for command in await tree.fetch_commands()}
        if not known:
            logger.info("%d commands registered with Discord", await sync_commands(tree, None))
        elif known != {command.name for command in tree.get_commands()}:
            logger.warning("Discord's list of commands is out of date: run `python -m bot sync`")
    except discord.HTTPException as error:
        logger.warning("the commands could not be registered: %s", error)
