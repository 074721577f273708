"""/admin: what whoever runs the bot wants to know, without logging in to the machine."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import discord
from discord import app_commands
from discord.ext import commands

from bot.acknowledge import acknowledge
from bot.errors import answering
from bot.store import JobState
from bot.text import escape, in_about

if TYPE_CHECKING:
    from bot.app import Floor33Bot
    from engine.serving import FailureReason, QueueView, WorkerStatus

_DAY: Final = timedelta(days=1)
_FIELD: Final = 1024
_GB: Final = 1e9


class Admin(commands.Cog):
    """For those who may manage the server, unless its settings say otherwise."""

    def __init__(self, bot: Floor33Bot) -> None:
        self._bot = bot

    admin = app_commands.Group(
        name="admin",
        description="For those who run the bot",
        default_permissions=discord.Permissions(manage_guild=True),
        guild_only=True,
    )

    @admin.command(name="status", description="Devices, queue, failures and disk")
    async def status(self, interaction: discord.Interaction[Floor33Bot]) -> None:
        """Tell how the service is; only the asker sees it."""
        bot = self._bot
        async with answering(interaction):
            await acknowledge(interaction, ephemeral=True)
            endings = await bot.store.endings(datetime.now(UTC) - _DAY)
            disk = await asyncio.to_thread(shutil.disk_usage, bot.settings.data_dir)
            embed = discord.Embed(title="Floor33")
            for worker in bot.engine.status():
                embed.add_field(name=worker.device, value=device_text(worker), inline=False)
            embed.add_field(name="Queue", value=line_text(bot.engine.queue()), inline=False)
            embed.add_field(name="Last 24 hours", value=endings_text(endings), inline=False)
            free = f"{disk.free / _GB:.1f} of {disk.total / _GB:.1f} GB free"
            if await asyncio.to_thread(bot.engine.free_space_problem):
                free += "; new clips are refused"
            embed.add_field(name="Disk", value=free, inline=False)
            await interaction.followup.send(embed=embed, ephemeral=True)


def device_text(worker: WorkerStatus) -> str:
    """What a device does and has done."""
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
    return _cut(lines)


def line_text(queue: QueueView) -> str:
    """How long the line is."""
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
    """How jobs ended, the failures by reason."""
    if not endings:
        return "no job has ended"
    named = {
        state.value if reason is None else f"{state.value}: {reason}": count
        for (state, reason), count in endings.items()
    }
    return _cut([f"{name} {count}" for name, count in sorted(named.items())])


def _failures(failures: Mapping[FailureReason, int]) -> str:
    if not failures:
        return ""
    return "; failed: " + ", ".join(f"{why} {count}" for why, count in sorted(failures.items()))


def _cut(lines: Sequence[str]) -> str:
    return "\n".join(escape(line) for line in lines)[:_FIELD]
