"""/animate: a picture, and perhaps words, to a clip."""

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
from bot.jobs.attachments import check_size, fetch
from bot.jobs.client import StudioClient
from bot.jobs.parameters import (
    DEFAULT_MOTION,
    ClipOrder,
    checked_negative,
    checked_prompt,
    parsed_size,
)
from bot.kinds import JOB_KINDS
from bot.messages.acknowledge import acknowledge
from bot.messages.text import MEGABYTE, clean
from bot.messages.user_errors import user_errors
from bot.store import ClipFormat
from engine.serving import ClipParams

_KIND: Final = JOB_KINDS["animate"]


class AnimateCommand(commands.Cog):
    """Image to video."""

    def __init__(self, bot: StudioClient) -> None:
        self._bot = bot

    @app_commands.command(name=_KIND.command, description="Make a clip that starts from a picture")
    @app_commands.describe(
        image="The picture to start from",
        prompt="What should happen in the clip",
        **DESCRIPTIONS,
    )
    @app_commands.allowed_contexts(guilds=True, dms=True, private_channels=False)
    @app_commands.allowed_installs(guilds=True, users=False)
    async def animate(
        self,
        interaction: discord.Interaction[StudioClient],
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
        bot = self._bot
        limits = bot.settings.limits
        max_bytes = limits.max_image_mb * MEGABYTE
        async with user_errors(interaction):
            width, height = parsed_size(size)
            words = prompt if prompt is not None and clean(prompt) else DEFAULT_MOTION
            checked = checked_prompt(words, limits.max_prompt_chars)
            unwanted = checked_negative(negative, limits.max_prompt_chars)
            check_size(image, max_bytes)
            answer_id = await acknowledge(interaction)
            await bot.jobs.admission.check(interaction)
            # Soon: Discord's links to attachments expire.
            picture = await fetch(image, max_bytes, limits.max_image_pixels)
            params = ClipParams(
                model=model or default_model(bot.settings, _KIND),
                prompt=checked,
                negative_prompt=unwanted,
                seed=seed,
                fps=fps,
                steps=steps,
                guidance=guidance,
                width=width,
                height=height,
                image=picture.source,
            )
            order = ClipOrder(
                kind=_KIND, params=params, expand=expand, format=format, picture=picture
            )
            await bot.jobs.submit(order, interaction, answer_id)

    @animate.autocomplete("model")
    async def _models(
        self, interaction: discord.Interaction[StudioClient], current: str
    ) -> list[app_commands.Choice[str]]:
        return await model_choices(self._bot, _KIND, current)

    @animate.autocomplete("size")
    async def _sizes(
        self, interaction: discord.Interaction[StudioClient], current: str
    ) -> list[app_commands.Choice[str]]:
        return await size_choices(interaction, _KIND, current)


async def setup(bot: StudioClient) -> None:
    """Add the command."""
    await bot.add_cog(AnimateCommand(bot))
