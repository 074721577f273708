"""The list of commands that Discord has: up to date, everywhere, and once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import discord
import pytest
from discord import app_commands

from bot.__main__ import main
from bot.app import create_bot
from bot.lifecycle.sync_commands import register_commands, sync_commands
from bot.settings import Settings
from tests.bot.conftest import World, make_world
from tests.bot.test_command_line import TOKEN, toml
from tests.loopback_discord import LoopbackDiscord
from tests.loopback_discord.state import GUILD_ID

NAMES = {"imagine", "animate", "queue", "history", "cancel", "admin"}


async def restart(world: World, dev_guild_id: int = 0, overrides: Any = None) -> None:
    settings = world.settings
    if overrides is not None:
        changed = overrides | {"discord": {"dev_guild_id": dev_guild_id}}
        settings = Settings.load(overrides=changed)
    await world.bot.close()
    world.bot = create_bot(settings, edit_interval_s=0.0)
    await world.env.restart_bot(world.bot)


async def seen(world: World) -> Counter[str]:
    """The commands that the server's people see, with how often they see each."""
    tree = world.bot.tree
    own = await tree.fetch_commands(guild=discord.Object(world.guild.id))
    return Counter(command.name for command in [*await tree.fetch_commands(), *own])


def registrations(world: World) -> int:
    return sum(
        request.method == "PUT" and request.path.endswith("/commands")
        for request in world.env.http_requests
    )


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "bot.registration" and record.levelname == "WARNING"
    ]


def without_format(command: Any) -> None:
    command["options"] = [o for o in command["options"] if o["name"] != "format"]


def other_words(command: Any) -> None:
    command["description"] = "Make a film"


def other_option_words(command: Any) -> None:
    command["options"][0]["description"] = "What?"


def other_choice(command: Any) -> None:
    choices = next(o for o in command["options"] if o["name"] == "format")["choices"]
    choices.pop()


def other_limit(command: Any) -> None:
    next(o for o in command["options"] if o["name"] == "steps")["max_value"] = 10


def now_required(command: Any) -> None:
    next(o for o in command["options"] if o["name"] == "seed")["required"] = True


def other_rights(command: Any) -> None:
    command["default_member_permissions"] = "32"


def other_name(command: Any) -> None:
    command["name"] = "picture"


@pytest.mark.parametrize(
    "change",
    [
        without_format,
        other_words,
        other_option_words,
        other_choice,
        other_limit,
        now_required,
        other_rights,
        other_name,
    ],
)
async def test_whatever_differs_from_discords_list_is_reported(
    world: World, caplog: pytest.LogCaptureFixture, change: Callable[[Any], None]
) -> None:
    """An option that came with an update (as `format` did) stayed unknown to Discord."""
    for command in world.env.backend.commands[None].values():
        if command["name"] == "imagine":
            change(command)
    caplog.clear()
    await restart(world)
    assert warnings(caplog) == [
        "Discord's list of commands is out of date: run `python -m bot sync`"
    ]
    assert registrations(world) == 1


async def test_a_list_that_is_up_to_date_is_left_alone(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await restart(world)
    assert warnings(caplog) == []
    assert registrations(world) == 1


async def test_with_a_development_server_others_have_the_commands_too(
    overrides: dict[str, Any],
) -> None:
    async with make_world(Settings.load(overrides=overrides)) as world:
        world.env.backend.commands.clear()
        await restart(world, world.guild.id, overrides)
        assert {command.name for command in await world.bot.tree.fetch_commands()} == NAMES
        assert await seen(world) == Counter(NAMES)


async def test_with_a_development_server_a_change_is_sent_at_once(
    overrides: dict[str, Any],
) -> None:
    async with make_world(Settings.load(overrides=overrides)) as world:
        for command in world.env.backend.commands[None].values():
            other_words(command)
        await restart(world, world.guild.id, overrides)
        (imagine,) = (c for c in await world.bot.tree.fetch_commands() if c.name == "imagine")
        assert imagine.description != "Make a film"
        assert await seen(world) == Counter(NAMES)


@pytest.mark.parametrize("dev", [True, False])
async def test_copies_of_an_earlier_version_go(overrides: dict[str, Any], dev: bool) -> None:
    """They stood beside the commands for everywhere, also after dev_guild_id was taken out."""
    async with make_world(Settings.load(overrides=overrides)) as world:
        guild = discord.Object(world.guild.id)
        world.bot.tree.copy_global_to(guild=guild)
        await world.bot.tree.sync(guild=guild)
        assert set((await seen(world)).values()) == {2}
        await restart(world, world.guild.id if dev else 0, overrides)
        await world.until(lambda: not world.env.backend.commands.get(world.guild.id))
        assert await seen(world) == Counter(NAMES)


async def test_a_sync_to_a_server_leaves_no_doubles(world: World) -> None:
    assert await sync_commands(world.bot.tree, world.guild.id) == len(NAMES)
    assert await seen(world) == Counter(NAMES)


async def test_a_server_may_have_commands_while_there_are_none_everywhere(world: World) -> None:
    world.env.backend.commands.clear()
    assert await sync_commands(world.bot.tree, world.guild.id) == len(NAMES)
    assert await world.bot.tree.fetch_commands() == []
    assert await seen(world) == Counter(NAMES)


@pytest.mark.parametrize("guild", [(), ("--guild", str(GUILD_ID))])
def test_the_sync_command_leaves_no_doubles(
    overrides: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    guild: tuple[str, ...],
) -> None:
    config = tmp_path / "bot.toml"
    config.write_text(toml(overrides))
    monkeypatch.setenv("DISCORD_TOKEN", TOKEN)
    with LoopbackDiscord() as loopback:
        monkeypatch.setattr(discord.http.Route, "BASE", loopback.url)
        assert main(["--config", str(config), "sync", "--guild", str(GUILD_ID)]) == 0
        assert loopback.state.commands == []
        assert len(loopback.state.guild_commands[GUILD_ID]) == len(NAMES)
        assert main(["--config", str(config), "sync"]) == 0
        assert main(["--config", str(config), "sync", *guild]) == 0
        assert {command["name"] for command in loopback.state.commands} == NAMES
        assert loopback.state.guild_commands[GUILD_ID] == []


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ServerDisconnectedError(),
        ConnectionResetError(104, "Connection reset by peer"),
        TimeoutError(),
        aiohttp.ClientPayloadError("cut"),
        ValueError("no JSON"),
        TypeError("string indices must be integers"),
        KeyError("id"),
        app_commands.MissingApplicationID(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("dev", [True, False])
async def test_no_failure_ends_the_start(
    world: World,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    dev: bool,
) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(world.bot.tree, "fetch_commands", fail)
    caplog.clear()
    await register_commands(world.bot.tree, world.guild.id if dev else None)
    (said,) = warnings(caplog)
    assert said.startswith("the commands could not be registered: ")
