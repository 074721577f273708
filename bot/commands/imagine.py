"""/imagine: words to a clip."""

from __future__ import annotations

from typing import Final

import discord
from discord import app_commands
from discord.ext import commands

from bot.commands.options import (
    DESCRIPTIONS,
    Fps,
    Guidance,
    Seed,
    Steps,
    default_model,
    model_choices,
    size_choices,
)
from bot.jobs.client import StudioClient
from bot.jobs.parameters import ClipOrder, checked_negative, checked_prompt, parsed_size
from bot.kinds import JOB_KINDS
from bot.messages.acknowledge import acknowledge
from bot.messages.user_errors import user_errors
from bot.store import ClipFormat
from engine.serving import ClipParams

_KIND: Final = JOB_KINDS["imagine"]


class ImagineCommand(commands.Cog):
    """Text to video."""

    def __init__(self, bot: StudioClient) -> None:
        self._bot = bot

    @app_commands.command(name=_KIND.command, description="Make a clip from words")
    @app_commands.describe(prompt="What the clip should show", **DESCRIPTIONS)
    @app_commands.allowed_contexts(guilds=True, dms=True, private_channels=False)
    @app_commands.allowed_installs(guilds=True, users=False)
    async def imagine(
        self,
        interaction: discord.Interaction[StudioClient],
        prompt: str,
        negative: str | None = None,
        seed: Seed | None = None,
        fps: Fps | None = None,
        steps: Steps | None = None,
        guidance: Guidance | None = None,
        size: str | None = None,
        model: str | None = None,
        expand: bool | None = None,
        format: ClipFormat = "mp4",
    ) -> None:
        """Check what can be checked at once, acknowledge, then do the rest."""
        bot = self._bot
        limit = bot.settings.limits.max_prompt_chars
        async with user_errors(interaction):
            width, height = parsed_size(size)
            params = ClipParams(
                model=model or default_model(bot.settings, _KIND),
                prompt=checked_prompt(prompt, limit),
                negative_prompt=checked_negative(negative, limit),
                seed=seed,
                fps=fps,
                steps=steps,
                guidance=guidance,
                width=width,
                height=height,
            )
            order = ClipOrder(kind=_KIND, params=params, expand=expand, format=format)
            answer_id = await acknowledge(interaction)
            await bot.jobs.admission.check(interaction)
            await bot.jobs.submit(order, interaction, answer_id)

    @imagine.autocomplete("model")
    async def _models(
        self, interaction: discord.Interaction[StudioClient], current: str
    ) -> list[app_commands.Choice[str]]:
        return await model_choices(self._bot, _KIND, current)

    @imagine.autocomplete("size")
    async def _sizes(
        self, interaction: discord.Interaction[StudioClient], current: str
    ) -> list[app_commands.Choice[str]]:
        return await size_choices(interaction, _KIND, current)


async def setup(bot: StudioClient) -> None:
    """Add the command."""
    await bot.add_cog(ImagineCommand(bot))
