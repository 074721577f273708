"""Telling Discord which commands there are: a deliberate act, since Discord counts each one.

All commands are global. Discord shows a server its own copies beside the global commands, so
copies of earlier versions are removed wherever they are found.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import discord
from discord import app_commands

from bot.lifecycle.login import REQUEST_ERRORS

# Not the name of this module: filters of logs out there know the earlier one.
logger = logging.getLogger("bot.registration")

_TIMEOUT_S: Final = 60.0
"""A start waits at most so long for the list of commands."""
_LIMITS: Final = ("min_value", "max_value", "min_length", "max_length")

Tree = app_commands.CommandTree[Any]


async def sync_commands(tree: Tree, guild_id: int | None) -> int:
    """Replace Discord's list of the commands, everywhere or in one server; how many there are.

    A server gets commands of its own only while there are none everywhere: it would show both.
    Otherwise the list for everywhere is replaced, and the server's copies are removed.

    Raises:
        discord.HTTPException: Discord refused, e.g. because the bot is not in the server.
    """
    if guild_id is None:
        return len(await tree.sync())
    guild = discord.Object(guild_id)
    if await _has_global_commands(tree):
        count = len(await tree.sync())
        await _remove_copies(tree, guild)
        return count
    tree.copy_global_to(guild=guild)
    try:
        return len(await tree.sync(guild=guild))
    finally:
        tree.clear_commands(guild=guild)


async def register_commands(tree: Tree, dev_guild_id: int | None) -> None:
    """At start: register the commands of an application that has none.

    A list that is out of date is only reported, for `python -m bot sync`, unless there is a
    development server: those who work on the bot get each change at once. No failure ends the
    start.
    """
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await _register(tree, dev_guild_id)
    except REQUEST_ERRORS as error:
        logger.warning("the commands could not be registered: %s", _said(error))


async def _register(tree: Tree, dev_guild_id: int | None) -> None:
    known = await tree.fetch_commands()
    outdated = not same_commands(tree, known)
    if not known or (outdated and dev_guild_id is not None):
        logger.info("%d commands registered with Discord", await sync_commands(tree, None))
    elif outdated:
        logger.warning("Discord's list of commands is out of date: run `python -m bot sync`")
    if dev_guild_id is not None:
        await _remove_copies(tree, discord.Object(dev_guild_id))


async def remove_all_copies(tree: Tree, guild_ids: Iterable[int]) -> None:
    """Remove the copies of the commands that these servers have of their own.

    Does nothing while there are no global commands. A failure is logged.
    """
    try:
        if not await _has_global_commands(tree):
            return
        for guild_id in guild_ids:
            await _remove_copies(tree, discord.Object(guild_id))
    except REQUEST_ERRORS as error:
        logger.warning("a server's own commands could not be looked at: %s", _said(error))


def same_commands(tree: Tree, known: list[app_commands.AppCommand]) -> bool:
    """Return whether Discord's list is, in all that users see, the one that the tree would send."""
    wanted = {(command.type, command.name): command for command in map(_listed, _sent(tree))}
    there = {(command.type, command.name): command for command in map(_listed, known)}
    return wanted.keys() == there.keys() and all(
        command.same_as(there[key]) for key, command in wanted.items()
    )


async def _has_global_commands(tree: Tree) -> bool:
    try:
        return bool(await tree.fetch_commands())
    except discord.HTTPException as error:
        logger.info("whether there are commands everywhere is not known: %s", error)
        return False


async def _remove_copies(tree: Tree, guild: discord.Object) -> None:
    try:
        copies = await tree.fetch_commands(guild=guild)
        if not copies:
            return
        tree.clear_commands(guild=guild)
        await tree.sync(guild=guild)
    except (discord.Forbidden, discord.NotFound) as error:
        logger.info("the commands of server %s cannot be changed: %s", guild.id, error)
        return
    logger.info("%d copies of commands removed from server %s", len(copies), guild.id)


@dataclass(frozen=True, slots=True)
class _Listed:
    """A command as users see it in Discord's list.

    `contexts` and `installs` are None where the bot has no wish: Discord fills in its own.
    """

    name: str
    type: int
    description: str
    nsfw: bool
    permissions: int | None
    contexts: frozenset[int] | None
    installs: frozenset[int] | None
    options: tuple[Any, ...]

    def same_as(self, there: _Listed) -> bool:
        """Return whether Discord has the command like this, ignoring what the bot leaves open."""
        contexts = there.contexts if self.contexts is None else self.contexts
        installs = there.installs if self.installs is None else self.installs
        return replace(self, contexts=contexts, installs=installs) == there


def _sent(tree: Tree) -> list[app_commands.AppCommand]:
    """Return the tree's commands as discord.py would read them from Discord."""
    known: dict[str, Any] = {"id": 0, "application_id": 0, "description": ""}
    payloads: list[Any] = [known | command.to_dict(tree) for command in tree.get_commands()]
    state = tree.client._connection
    return [app_commands.AppCommand(data=payload, state=state) for payload in payloads]


def _listed(command: app_commands.AppCommand) -> _Listed:
    payload: Mapping[str, Any] = command.to_dict()
    permissions = command.default_member_permissions
    return _Listed(
        name=command.name,
        type=command.type.value,
        description=str(command.description),
        nsfw=command.nsfw,
        permissions=None if permissions is None else permissions.value,
        contexts=_numbers(payload["contexts"]),
        installs=_numbers(payload["integration_types"]),
        options=_options(payload["options"]),
    )


def _numbers(values: list[int] | None) -> frozenset[int] | None:
    return None if values is None else frozenset(values)


def _options(payloads: list[Any] | None) -> tuple[Any, ...]:
    """Return options, or subcommands, so that what is left out equals its default."""
    return tuple(
        (
            option["type"],
            option["name"],
            str(option["description"]),
            bool(option.get("required")),
            bool(option.get("autocomplete")),
            tuple((choice["name"], choice["value"]) for choice in option.get("choices") or ()),
            frozenset(option.get("channel_types") or ()),
            *(option.get(key) for key in _LIMITS),
            _options(option.get("options")),
        )
        for option in payloads or ()
    )


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
