"""A job kind is one row of a table, and the command that asks for it."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from bot.kinds import JOB_KINDS
from bot.settings import Settings
from tests.bot.conftest import make_world

# isort: split
# [example]
import discord
from discord import app_commands
from discord.ext import commands

from bot.commands.options import default_model
from bot.jobs.client import StudioClient
from bot.jobs.parameters import ClipOrder, checked_prompt
from bot.kinds import JobKind
from bot.messages.acknowledge import acknowledge
from bot.messages.user_errors import user_errors
from engine.serving import ClipParams

# The row, in JOB_KINDS of bot/kinds.py:
POSTCARD = JobKind(
    name="postcard",
    command="postcard",
    task="text-to-video",
    needs_image=False,
    default_model="text_to_video",
)


# The command, in bot/commands/postcard.py:
class PostcardCommand(commands.Cog):
    """A clip of a place."""

    def __init__(self, bot: StudioClient) -> None:
        self._bot = bot

    @app_commands.command(name=POSTCARD.command, description="Make a clip of a place")
    async def postcard(self, interaction: discord.Interaction[StudioClient], place: str) -> None:
        """Check the words, acknowledge, and submit the job."""
        bot = self._bot
        async with user_errors(interaction):
            params = ClipParams(
                model=default_model(bot.settings, POSTCARD),
                prompt=checked_prompt(
                    f"a postcard of {place}", bot.settings.limits.max_prompt_chars
                ),
                steps=2,
            )
            answer_id = await acknowledge(interaction)
            await bot.jobs.admission.check(interaction)
            await bot.jobs.submit(ClipOrder(kind=POSTCARD, params=params), interaction, answer_id)


async def setup(bot: StudioClient) -> None:
    """Add the command."""
    await bot.add_cog(PostcardCommand(bot))


# [/example]


async def test_a_job_of_a_new_kind_is_delivered_and_rolled_again(
    overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = MappingProxyType({**JOB_KINDS, POSTCARD.name: POSTCARD})
    monkeypatch.setattr("bot.kinds.JOB_KINDS", table)
    async with make_world(Settings.load(overrides=overrides)) as world:
        await setup(world.bot)
        await world.bot.tree.sync()
        result = await world.alice.slash(world.channel, "postcard", place="Lisbon")
        message = await world.clip(result.response.id)
        assert message.embeds[0].description == "a postcard of Lisbon"
        again = await world.alice.click(message, label="Re-roll")
        await world.clip(again.response.id)
        kinds = world.query("select kind, steps from jobs")
        assert kinds == [{"kind": "postcard", "steps": 2}] * 2
