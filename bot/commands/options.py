"""The options that /imagine and /animate share, and the choices offered for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import discord
from discord import app_commands

from bot.messages.text import clean
from engine.serving import ModelCard
from engine.serving.request import MAX_SEED

if TYPE_CHECKING:
    from bot.app import Floor33Bot

MAX_CHOICES: Final = 25
_MAX_CHOICE_NAME: Final = 100

# Wide enough for every model; the model's own limits are checked when the command arrives.
Seed = app_commands.Range[int, 0, MAX_SEED]
Fps = app_commands.Range[int, 1, 120]
Steps = app_commands.Range[int, 1, 1000]
Guidance = app_commands.Range[float, 1.0, 100.0]

DESCRIPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "negative": "What it should not show",
        "seed": "The same seed and settings give the same clip (default: random)",
        "fps": "Frames per second",
        "steps": "More steps: finer, slower",
        "guidance": "How closely to follow the prompt",
        "size": 'Width and height in pixels, such as "512x320"',
        "model": "Which model makes the clip",
        "format": "What is sent: a video (the best), or a picture that moves",
        "expand": "Add detail to the prompt; the card shows what became of it",
    }
)


async def models_for(bot: Floor33Bot, task: str) -> list[ModelCard]:
    """The models that can be used for a task, the default one first."""
    chosen = bot.settings.models
    default = chosen.image_to_video if task == "image-to-video" else chosen.text_to_video
    cards = await asyncio.to_thread(bot.engine.models)
    usable = [card for card in cards if card.ready and card.task == task]
    return sorted(usable, key=lambda card: (card.name != default, card.name))


async def model_choices(bot: Floor33Bot, task: str, current: str) -> list[app_commands.Choice[str]]:
    """Models whose name or title contains what was typed."""
    wanted = current.casefold()
    return [
        app_commands.Choice(name=_choice_name(card), value=card.name)
        for card in await models_for(bot, task)
        if _can_be_chosen(card.name)
        if wanted in card.name.casefold() or wanted in card.title.casefold()
    ][:MAX_CHOICES]


async def size_choices(
    interaction: discord.Interaction[Floor33Bot], task: str, current: str
) -> list[app_commands.Choice[str]]:
    """Sizes of the model chosen so far."""
    card = await _chosen(interaction, task)
    sizes = () if card is None else card.sizes
    names = [f"{width}x{height}" for width, height in sizes]
    return [
        app_commands.Choice(name=name, value=name) for name in names if current.strip() in name
    ][:MAX_CHOICES]


def _choice_name(card: ModelCard) -> str:
    """Title and name, cut to what Discord takes: one that is longer costs the whole list."""
    text = clean(f"{card.title} ({card.name})")
    while len(text.encode("utf-16-le")) // 2 > _MAX_CHOICE_NAME:
        text = text[:-1]
    return text


def _can_be_chosen(name: str) -> bool:
    return 1 <= len(name) <= _MAX_CHOICE_NAME and name.isprintable()


async def _chosen(interaction: discord.Interaction[Floor33Bot], task: str) -> ModelCard | None:
    cards = await models_for(interaction.client, task)
    name = interaction.namespace.model
    return next((card for card in cards if not name or card.name == name), None)
