"""/animate: a picture, and perhaps words, to a clip."""

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
from bot.jobs.attachments import check_size, fetch
from bot.jobs.parameters import DEFAULT_MOTION, Order, checked_negative, checked_prompt, parsed_size
from bot.messages.acknowledge import acknowledge
from bot.messages.text import MEGABYTE, clean
from bot.store import ClipFormat

if TYPE_CHECKING:
    from bot.app import Floor33Bot

_TASK: Final = "image-to-video"


class Animate(commands.Cog):
    """Image to video."""

    def __init__(self, bot: Floor33Bot) -> None:
        self._bot = bot

    @app_commands.command(name="animate", description="Make a clip that starts from a picture")
    @app_commands.describe(
        image="The picture to start from",
        prompt="What should happen in the clip",
        **DESCRIPTIONS,
    )
    @app_commands.allowed_contexts(guilds=True, dms=True, private_channels=False)
    @app_commands.allowed_installs(guilds=True, users=False)
    async def animate(
        self,
        interaction: discord.Interaction[Floor33Bot],
        image: discord.Attachment,
        prompt: str | None = None,
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
        """Check what can be checked at once, acknowledge, then fetch the picture and go on."""
        settings = self._bot.settings
        limits = settings.limits
        max_bytes = limits.max_image_mb * MEGABYTE
        async with answering(interaction):
            width, height = parsed_size(size)
            words = prompt if prompt is not None and clean(prompt) else DEFAULT_MOTION
            checked = checked_prompt(words, limits.max_prompt_chars)
            unwanted = checked_negative(negative, limits.max_prompt_chars)
            check_size(image, max_bytes)
            answer_id = await acknowledge(interaction)
            await self._bot.studio.admission.check(interaction)
            # Soon: Discord's links to attachments expire.
            picture = await fetch(image, max_bytes, limits.max_image_pixels)
            order = Order(
                kind="animate",
                prompt=checked,
                model=model or settings.models.image_to_video,
                negative_prompt=unwanted,
                seed=seed,
                fps=fps,
                steps=steps,
                guidance=guidance,
                width=width,
                height=height,
                expand=expand,
                format=format,
                picture=picture,
            )
            await self._bot.studio.make(order, interaction, answer_id)

    @animate.autocomplete("model")
    async def _models(
        self, interaction: discord.Interaction[Floor33Bot], current: str
    ) -> list[app_commands.Choice[str]]:
        return await model_choices(self._bot, _TASK, current)

    @animate.autocomplete("size")
    async def _sizes(
        self, interaction: discord.Interaction[Floor33Bot], current: str
    ) -> list[app_commands.Choice[str]]:
        return await size_choices(interaction, _TASK, current)
