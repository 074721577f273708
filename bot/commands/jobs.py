"""/queue, /history and /cancel: a user's own jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import discord
from discord import app_commands
from discord.ext import commands

from bot.errors import UserError
from bot.messages.acknowledge import acknowledge
from bot.messages.buttons import resend_view
from bot.messages.responses import replace_thinking
from bot.messages.text import duration, in_about, quote
from bot.messages.user_errors import send_ephemeral, user_errors
from bot.protocols import BotClient
from bot.store import JobState, PastJob
from engine.serving import QueueView

_PROMPT: Final = 60
_LISTED: Final = 10
_DESCRIPTION: Final = 4096
_TITLE: Final = "Your last clips"
_ALL: Final = "all"
_MARKS: Final = {
    JobState.QUEUED: "⏳",
    JobState.RUNNING: "🎬",
    JobState.RENDERED: "📦",
    JobState.DELIVERED: "✅",
    JobState.FAILED: "❌",
    JobState.CANCELLED: "🚫",
}


class JobCommands(commands.Cog):
    """A user's look at the line and at their own clips; only they see the answers."""

    def __init__(self, bot: BotClient) -> None:
        self._bot = bot

    @app_commands.command(
        name="queue", description="Your place in the queue, and how long it takes"
    )
    @app_commands.allowed_contexts(guilds=True, dms=True, private_channels=False)
    @app_commands.allowed_installs(guilds=True, users=False)
    async def queue(self, interaction: discord.Interaction[BotClient]) -> None:
        """Tell the user's places among all."""
        async with user_errors(interaction):
            view = self._bot.engine.queue()
            await send_ephemeral(interaction, queue_text(view, str(interaction.user.id)))

    @app_commands.command(name="history", description="Your last clips, also those not delivered")
    @app_commands.allowed_contexts(guilds=True, dms=True, private_channels=False)
    @app_commands.allowed_installs(guilds=True, users=False)
    async def history(self, interaction: discord.Interaction[BotClient]) -> None:
        """Tell what became of the user's last jobs; clips that are there can be had again."""
        async with user_errors(interaction):
            await acknowledge(interaction, ephemeral=True)
            user_id, store = interaction.user.id, self._bot.store
            waiting = await store.undelivered_jobs(user_id, _LISTED)
            past = await store.past_jobs(user_id, _LISTED)
            if not past:
                raise UserError("You have not asked for a clip yet. Try /imagine.")
            # First those that have not reached their user, however long ago they were made.
            older = [entry for entry in waiting if entry not in past]
            past = [*older, *past]
            kept = [
                entry.generation.id
                for entry in past
                if entry.generation is not None and entry.generation.deleted_at is None
            ]
            lines = [_line(entry, number) for number, entry in enumerate(past, start=1)]
            embed = discord.Embed(
                title="Your last clips, and those that wait to be sent" if older else _TITLE,
                description=_fitting(lines),
            )
            numbers = {
                entry.generation.id: number
                for number, entry in enumerate(past, start=1)
                if entry.generation is not None
            }
            view = resend_view({clip: f"Send {numbers[clip]}" for clip in kept})
            pauses = self._bot.throttle.retries_s(patient=False)
            await replace_thinking(interaction, lambda: {"embed": embed, "view": view}, pauses)

    @app_commands.command(name="cancel", description="End your clips that wait or are being made")
    @app_commands.describe(clip="Which one (default: all of yours)")
    @app_commands.allowed_contexts(guilds=True, dms=True, private_channels=False)
    @app_commands.allowed_installs(guilds=True, users=False)
    async def cancel(
        self, interaction: discord.Interaction[BotClient], clip: str | None = None
    ) -> None:
        """Cancel one of the user's jobs, or all."""
        async with user_errors(interaction):
            await acknowledge(interaction, ephemeral=True)
            chosen = None if clip in (None, _ALL) else clip
            ended = await self._bot.jobs.cancel_own(interaction.user.id, chosen)
            if not ended:
                raise UserError("There is nothing of yours to cancel.")
            one = f"“{quote(ended[0].params.prompt, _PROMPT)}”"
            what = one if len(ended) == 1 else f"{len(ended)} clips"
            pauses = self._bot.throttle.retries_s(patient=False)
            answer = {"content": f"Cancelled: {what}."}
            await replace_thinking(interaction, lambda: answer, pauses)

    @cancel.autocomplete("clip")
    async def _clips(
        self, interaction: discord.Interaction[BotClient], current: str
    ) -> list[app_commands.Choice[str]]:
        jobs = await self._bot.store.unfinished_jobs(interaction.user.id)
        wanted = current.casefold()
        found = [job for job in jobs if wanted in job.params.prompt.casefold()]
        choices = [
            app_commands.Choice(name=job.params.prompt[:100], value=job.id) for job in found[:24]
        ]
        return [app_commands.Choice(name="All of mine", value=_ALL), *choices]


def queue_text(view: QueueView, owner: str) -> str:
    """The queue as one of the owners sees it: their own places, and how busy it is."""
    lines = [
        f"🎬 Being made, done {in_about(job.remaining_s)}"
        for job in view.running
        if job.owner == owner
    ]
    lines += [
        f"⏳ Place {job.position}, begins {in_about(job.wait_s)}"
        for job in view.waiting
        if job.owner == owner
    ]
    total = f"{len(view.running)} being made, {len(view.waiting)} waiting in all."
    if not lines:
        lines = ["Nothing of yours is waiting."]
    return "\n".join([*lines[:_LISTED], total])


def _fitting(lines: Sequence[str]) -> str:
    """Return as many of the lines, from the first, as an embed's description holds."""
    kept = list(lines)
    while len("\n".join(kept)) > _DESCRIPTION:
        kept.pop()
    return "\n".join(kept)


def _line(entry: PastJob, number: int) -> str:
    job, clip = entry.job, entry.generation
    when = discord.utils.format_dt(job.created_at, "R")
    line = f"{number}. {_MARKS[job.state]} {quote(job.params.prompt, _PROMPT)} · {when}"
    if clip is not None and clip.deleted_at is None:
        line += f" · {duration(clip.elapsed_s)}"
    if job.message_id is not None and job.state is JobState.DELIVERED:
        guild = "@me" if job.guild_id is None else str(job.guild_id)
        line += f" · https://discord.com/channels/{guild}/{job.channel_id}/{job.message_id}"
    elif job.error is not None and job.state is not JobState.CANCELLED:
        line += f" · {quote(job.error, 2 * _PROMPT)}"
    return line


async def setup(bot: BotClient) -> None:
    """Add the commands."""
    await bot.add_cog(JobCommands(bot))
