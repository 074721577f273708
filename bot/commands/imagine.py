"""/imagine: words to a clip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import discord
from discord import app_commands
from discord.ext import commands

from bot.commands.options import (
    DESCRIPTIONS,
    Fps,
    Guidance,
    Seed,
    Steps,
    model_choices,
    size_choices,
)
from bot.errors import answering
from bot.jobs.parameters import Order, checked_negative, checked_prompt, parsed_size
from bot.messages.acknowledge import acknowledge
from bot.store import ClipFormat

if TYPE_CHECKING:
    from bot.app import Floor33Bot

_TASK: Final = "text-to-video"


class Imagine(commands.Cog):
    """Text to video."""

    def __init__(self, bot: Floor33Bot) -> None:
        self._bot = bot

    @app_commands.command(name="imagine", description="Make a clip from words")
    @app_commands.describe(prompt="What the clip should show", **DESCRIPTIONS)
    @app_commands.allowed_contexts(guilds=True, dms=True, private_channels=False)
    @app_commands.allowed_installs(guilds=True, users=False)
    async def imagine(
        self,
        interaction: discord.Interaction[Floor33Bot],
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
        settings = self._bot.settings
        limit = settings.limits.max_prompt_chars
        async with answering(interaction):
            width, height = parsed_size(size)
            order = Order(
                kind="imagine",
                prompt=checked_prompt(prompt, limit),
                model=model or settings.models.text_to_video,
                negative_prompt=checked_negative(negative, limit),
                seed=seed,
                fps=fps,
                steps=steps,
                guidance=guidance,
                width=width,
                height=height,
                expand=expand,
                format=format,
            )
            answer_id = await acknowledge(interaction)
            await self._bot.studio.admission.check(interaction)
            await self._bot.studio.make(order, interaction, answer_id)

    @imagine.autocomplete("model")
    async def _models(
        self, interaction: discord.Interaction[Floor33Bot], current: str
    ) -> list[app_commands.Choice[str]]:
        return await model_choices(self._bot, _TASK, current)

    @imagine.autocomplete("size")
    async def _sizes(
        self, interaction: discord.Interaction[Floor33Bot], current: str
    ) -> list[app_commands.Choice[str]]:
        return await size_choices(interaction, _TASK, current)
