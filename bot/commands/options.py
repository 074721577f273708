"""The options that /imagine and /animate share, and the choices offered for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import discord
from discord import app_commands

from bot.jobs.client import StudioClient
from bot.kinds import JobKind
from bot.messages.text import clean
from bot.settings import Settings
from engine.serving import ModelCard
from engine.serving.request import MAX_SEED

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


def default_model(settings: Settings, kind: JobKind) -> str:
    """Return the name of the model that makes clips of a kind unless another is asked for."""
    name: str = getattr(settings.models, kind.default_model)
    return name


async def models_for(bot: StudioClient, kind: JobKind) -> list[ModelCard]:
    """Return the models that can make clips of a kind, the default one first."""
    default = default_model(bot.settings, kind)
    cards = await asyncio.to_thread(bot.engine.models)
    usable = [card for card in cards if card.ready and card.task == kind.task]
    return sorted(usable, key=lambda card: (card.name != default, card.name))


async def model_choices(
    bot: StudioClient, kind: JobKind, current: str
) -> list[app_commands.Choice[str]]:
    """Return models whose name or title contains what was typed."""
    wanted = current.casefold()
    return [
        app_commands.Choice(name=_choice_name(card), value=card.name)
        for card in await models_for(bot, kind)
        if _can_be_chosen(card.name)
        if wanted in card.name.casefold() or wanted in card.title.casefold()
    ][:MAX_CHOICES]


async def size_choices(
    interaction: discord.Interaction[StudioClient], kind: JobKind, current: str
) -> list[app_commands.Choice[str]]:
    """Return sizes of the model chosen so far."""
    card = await _chosen(interaction, kind)
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


async def _chosen(
    interaction: discord.Interaction[StudioClient], kind: JobKind
) -> ModelCard | None:
    cards = await models_for(interaction.client, kind)
    name = interaction.namespace.model
    return next((card for card in cards if not name or card.name == name), None)
