"""/admin: status and blocks, for those who run the bot."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import discord
from discord import app_commands
from discord.ext import commands

from bot.commands.operators import operators
from bot.errors import UserError
from bot.messages.acknowledge import acknowledge
from bot.messages.text import escape, in_about
from bot.messages.user_errors import send_ephemeral, send_private, user_errors
from bot.protocols import BotClient
from bot.store import JobState
from common.disk import disk_space
from engine.serving import FailureReason, QueueView, WorkerStatus

logger = logging.getLogger(__name__)

Field = tuple[str, str]

_DAY: Final = timedelta(days=1)
_GB: Final = 1e9
# Discord's limits for one embed: fields, and characters of a name, a value and all together.
_FIELDS: Final = 25
_NAME: Final = 256
_FIELD: Final = 1024
_EMBED: Final = 6000
_TITLE: Final = "Floor33"
_OPERATORS_ONLY: Final = "Only the operators of this bot can do that."


class AdminCommands(commands.Cog):
    """For those who manage a server, unless its settings say otherwise, and for the operators.

    Discord shows the commands to those who may manage the server. They see what concerns it; the
    machine, the other servers and blocks are for the operators alone.
    """

    def __init__(self, bot: BotClient) -> None:
        self._bot = bot

    admin = app_commands.Group(
        name="admin",
        description="For those who run the bot",
        default_permissions=discord.Permissions(manage_guild=True),
        guild_only=True,
    )

    @admin.command(name="status", description="Queue and failures; for operators also the machine")
    async def status(self, interaction: discord.Interaction[BotClient]) -> None:
        """Tell how the service is; only the asker sees it."""
        async with user_errors(interaction):
            await acknowledge(interaction, ephemeral=True)
            guild_id = interaction.guild_id
            if self._is_operator(interaction):
                fields = await self._machine()
            elif guild_id is not None:
                fields = await self._server(guild_id)
            else:
                raise UserError(_OPERATORS_ONLY)
            await send_private(interaction, embed=status_embed(fields))

    @admin.command(name="block", description="Take no more orders and ratings from somebody")
    @app_commands.describe(user="Who; by id also somebody who is not here")
    async def block(self, interaction: discord.Interaction[BotClient], user: discord.User) -> None:
        """Block a user in all servers and in direct messages."""
        async with user_errors(interaction):
            await acknowledge(interaction, ephemeral=True)
            self._check_operator(interaction)
            if user.id in operators(self._bot, self._bot.settings):
                raise UserError("Operators cannot be blocked.")
            new = await self._bot.store.block(user.id)
            if new:
                logger.warning("user %s was blocked by operator %s", user.id, interaction.user.id)
            done = "is blocked now" if new else "was blocked already"
            await send_ephemeral(
                interaction,
                f"{escape(user.name)} ({user.id}) {done}. What they have under way goes on; "
                "`/admin unblock` takes it back.",
            )

    @admin.command(name="unblock", description="Take orders from somebody again")
    @app_commands.describe(user="Who; by id also somebody who is not here")
    async def unblock(
        self, interaction: discord.Interaction[BotClient], user: discord.User
    ) -> None:
        """Take a block back."""
        async with user_errors(interaction):
            await acknowledge(interaction, ephemeral=True)
            self._check_operator(interaction)
            if not await self._bot.store.unblock(user.id):
                raise UserError(f"{escape(user.name)} ({user.id}) is not blocked.")
            logger.warning("user %s was unblocked by operator %s", user.id, interaction.user.id)
            await send_ephemeral(
                interaction, f"{escape(user.name)} ({user.id}) may use the bot again."
            )

    def _is_operator(self, interaction: discord.Interaction[BotClient]) -> bool:
        return interaction.user.id in operators(self._bot, self._bot.settings)

    def _check_operator(self, interaction: discord.Interaction[BotClient]) -> None:
        if not self._is_operator(interaction):
            raise UserError(_OPERATORS_ONLY)

    async def _server(self, guild_id: int) -> list[Field]:
        store = self._bot.store
        jobs = await store.jobs_of_server(guild_id)
        endings = await store.endings(datetime.now(UTC) - _DAY, guild_id=guild_id)
        running, waiting = jobs.get(JobState.RUNNING, 0), jobs.get(JobState.QUEUED, 0)
        return [
            ("Queue", f"{running} being made, {waiting} waiting for this server"),
            ("Last 24 hours", endings_text(endings)),
        ]

    async def _machine(self) -> list[Field]:
        bot = self._bot
        endings = await bot.store.endings(datetime.now(UTC) - _DAY)
        disk = await asyncio.to_thread(disk_space, bot.settings.data_dir)
        free = f"{disk.free / _GB:.1f} of {disk.total / _GB:.1f} GB free"
        if await asyncio.to_thread(bot.engine.free_space_problem):
            free += "; new clips are refused"
        general = [
            ("Queue", line_text(bot.engine.queue())),
            ("Last 24 hours", endings_text(endings)),
            ("Disk", free),
        ]
        return [*device_fields(bot.engine.status(), _FIELDS - len(general)), *general]


def status_embed(fields: Sequence[Field]) -> discord.Embed:
    """An embed with all these fields, whatever their number and length, as Discord takes it.

    The last fields are kept whole as far as that is possible; the first, which are the devices',
    share the room that these leave.
    """
    shown = [(name[:_NAME], value[:_FIELD]) for name, value in fields[-_FIELDS:]]
    room = _EMBED - len(_TITLE) - sum(len(name) for name, _ in shown)
    embed = discord.Embed(title=_TITLE)
    values: list[str] = []
    for index, (_, value) in reversed(list(enumerate(shown))):
        # Each may have its part of what is left, and what shorter ones do not need.
        values.append(_cut(value, max(1, room // (index + 1))))
        room -= len(values[-1])
    for (name, _), value in zip(shown, reversed(values), strict=True):
        embed.add_field(name=name, value=value, inline=False)
    return embed


def device_fields(workers: Sequence[WorkerStatus], most: int) -> list[Field]:
    """A field for each device; of more than `most`, those that have failed first, then a count."""
    if len(workers) <= most:
        return [(worker.device, device_text(worker)) for worker in workers]
    troubled = sorted(workers, key=lambda worker: not (worker.failures or worker.broken_models))
    shown, rest = troubled[: most - 1], troubled[most - 1 :]
    states = Counter(worker.state for worker in rest)
    summary = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    done = sum(worker.jobs_done for worker in rest)
    return [
        *((worker.device, device_text(worker)) for worker in shown),
        (f"{len(rest)} more devices", f"{summary}; clips since the start: {done}"),
    ]


def device_text(worker: WorkerStatus) -> str:
    """Describe what a device does and has done."""
    lines = [f"{worker.state}{'' if worker.phase is None else f', {worker.phase}'}"]
    loaded = ", ".join(f"{model.name} ({model.bytes / _GB:.2f} GB)" for model in worker.models)
    lines.append(f"models: {loaded or 'none yet'}")
    if worker.memory_total_bytes:
        free, total = worker.memory_free_bytes / _GB, worker.memory_total_bytes / _GB
        lines.append(f"memory: {free:.1f} of {total:.1f} GB free")
    lines.append(f"clips since the start: {worker.jobs_done}{_failures(worker.failures)}")
    if worker.replaced:
        lines.append(f"threads given up because they hung: {worker.replaced}")
    lines += [f"{name} cannot be loaded: {why}" for name, why in worker.broken_models.items()]
    return _escaped(lines)


def line_text(queue: QueueView) -> str:
    """Describe the line: the clips being made, those waiting, and when the last one begins."""
    waiting = queue.waiting
    if not waiting:
        return f"{len(queue.running)} being made, nobody waits"
    last = in_about(waiting[-1].wait_s)
    owners = len({job.owner for job in waiting})
    return (
        f"{len(queue.running)} being made, {len(waiting)} waiting for {owners} users; "
        f"the last begins {last}"
    )


def endings_text(endings: Mapping[tuple[JobState, str | None], int]) -> str:
    """Describe how jobs ended, with the failures by reason."""
    if not endings:
        return "no job has ended"
    named = {
        state.value if reason is None else f"{state.value}: {reason}": count
        for (state, reason), count in endings.items()
    }
    return _escaped([f"{name} {count}" for name, count in sorted(named.items())])


def _failures(failures: Mapping[FailureReason, int]) -> str:
    if not failures:
        return ""
    return "; failed: " + ", ".join(f"{why} {count}" for why, count in sorted(failures.items()))


def _escaped(lines: Sequence[str]) -> str:
    return _cut("\n".join(escape(line) for line in lines), _FIELD)


def _cut(text: str, limit: int) -> str:
    """The text, or its beginning with a sign that it goes on; never half an escape."""
    if len(text) <= limit:
        return text
    return text[: limit - 1].rstrip("\\ \n") + "…"


async def setup(bot: BotClient) -> None:
    """Add the commands."""
    await bot.add_cog(AdminCommands(bot))
