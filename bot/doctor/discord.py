"""Checks of the token and of the bot's permissions in its servers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

import discord

from bot.doctor.report import DiagnosticResult, Status
from bot.lifecycle.login import REQUEST_ERRORS
from bot.settings import Settings

_PORTAL: Final = "https://discord.com/developers/applications"
_MAX_GUILDS: Final = 100


def needed_permissions() -> discord.Permissions:
    """Return the permissions that the bot needs in a channel; Manage Messages is not among them."""
    return discord.Permissions(
        view_channel=True,
        send_messages=True,
        send_messages_in_threads=True,
        embed_links=True,
        attach_files=True,
        add_reactions=True,
        read_message_history=True,
    )


def invite_link(application_id: int) -> str:
    """Return the address under which an administrator adds the bot to a server."""
    return discord.utils.oauth_url(
        application_id,
        permissions=needed_permissions(),
        scopes=("bot", "applications.commands"),
    )


def application_of(token: str) -> int | None:
    """Return the application's id, which is a token's first part; None for what is no token."""
    first = token.split(".")[0]
    try:
        number = base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    return int(number) if number.isdecimal() else None


async def check_discord(settings: Settings) -> list[DiagnosticResult]:
    """Check token, invite link and permissions; ask Discord if there is a token."""
    if settings.discord.token is None:
        return [
            DiagnosticResult(
                "token",
                Status.WARN,
                "DISCORD_TOKEN is not set: the local preview runs instead",
                f"For Discord, make a bot at {_PORTAL} and set DISCORD_TOKEN to its token.",
            )
        ]
    token = settings.discord.token.get_secret_value().strip()
    application_id = application_of(token)
    if application_id is None or token.count(".") != 2:
        return [
            DiagnosticResult(
                "token",
                Status.FAIL,
                "DISCORD_TOKEN does not look like a bot's token",
                f"Copy it again from {_PORTAL}, page Bot.",
            )
        ]
    link = DiagnosticResult("invite link", Status.OK, invite_link(application_id))
    return [*await _ask_discord(token, settings), link]


async def _ask_discord(token: str, settings: Settings) -> list[DiagnosticResult]:
    async with discord.Client(intents=discord.Intents.none()) as client:
        try:
            await client.login(token)
            guilds = await client.http.get_guilds(_MAX_GUILDS)
            servers = [_server(guild, settings) for guild in guilds]
        except discord.LoginFailure:
            return [
                DiagnosticResult(
                    "token",
                    Status.FAIL,
                    "Discord refused DISCORD_TOKEN",
                    f"Make a new one at {_PORTAL}, page Bot.",
                )
            ]
        except REQUEST_ERRORS as error:
            return [
                DiagnosticResult(
                    "token",
                    Status.WARN,
                    f"Discord could not be asked: {error}",
                    "Check the network; the bot tries again by itself.",
                )
            ]
        checks = [DiagnosticResult("token", Status.OK, f"accepted, the bot is {client.user}")]
        checks.append(_openness(client.application, settings))
    if not servers:
        checks.append(
            DiagnosticResult(
                "servers", Status.WARN, "the bot is in no server", "Open the invite link."
            )
        )
    return checks + servers


def _openness(application: discord.AppInfo | None, settings: Settings) -> DiagnosticResult:
    """Check who can bring the bot into a server, and so use this machine."""
    if settings.discord.servers is not None:
        count = len(settings.discord.servers)
        return DiagnosticResult(
            "who may use it", Status.OK, f"the {count} servers of discord.servers"
        )
    if application is None or application.bot_public:
        return DiagnosticResult(
            "who may use it",
            Status.WARN,
            "anybody can add the bot to a server of theirs: the application is public",
            f"Turn Public Bot off at {_PORTAL}, page Bot, or name your servers in discord.servers.",
        )
    return DiagnosticResult(
        "who may use it", Status.OK, "every server that the application's owner adds"
    )


def _server(guild: Mapping[str, Any], settings: Settings) -> DiagnosticResult:
    allowed = settings.discord.servers
    if allowed is None or int(guild["id"]) in allowed:
        return _permissions(guild["name"], int(guild["permissions"]))
    return DiagnosticResult(
        f"server {guild['name']}",
        Status.WARN,
        "not in discord.servers: the bot leaves it when it starts",
        f"Add {guild['id']} to discord.servers if it should stay.",
    )


def _permissions(server: str, granted: int) -> DiagnosticResult:
    has = discord.Permissions(granted)
    missing = [
        name.replace("_", " ")
        for name, wanted in needed_permissions()
        if wanted and not (has.administrator or getattr(has, name))
    ]
    if missing:
        return DiagnosticResult(
            f"server {server}",
            Status.WARN,
            f"missing permissions: {', '.join(missing)}",
            "Open the invite link again, or change the bot's role.",
        )
    return DiagnosticResult(f"server {server}", Status.OK, "all permissions are there")
