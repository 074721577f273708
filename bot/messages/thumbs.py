"""Reading from Discord whose thumbs a message shows.

A thumb of each skin tone is a reaction of its own, and so is a super reaction: one user may have
several. Discord's events tell of one at a time and never of those that a user still has, so
where that matters the message itself is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import discord

UP: Final = "👍"
DOWN: Final = "👎"
THUMBS: Final = (UP, DOWN)
_VALUES: Final = {UP: 1, DOWN: -1}
_SKIN_TONES: Final = "".join(chr(code) for code in range(0x1F3FB, 0x1F400))


def rating_value(emoji: discord.PartialEmoji | discord.Emoji | str) -> int | None:
    """+1 or -1 for a thumb of any skin tone, None for everything else."""
    if isinstance(emoji, str):
        return _VALUES.get(emoji.rstrip(_SKIN_TONES))
    if isinstance(emoji, discord.Emoji) or emoji.is_custom_emoji():
        return None
    return _VALUES.get(emoji.name.rstrip(_SKIN_TONES))


@dataclass(frozen=True, slots=True)
class Rater:
    """A user who is no bot, and the values (+1, -1) of the thumbs that they have on a message."""

    name: str
    values: frozenset[int]


async def all_raters(message: discord.Message) -> dict[int, Rater]:
    """Return everybody whose thumbs the message shows, by their id.

    Raises whatever discord.py raises for its requests.
    """
    names: dict[int, str] = {}
    values: dict[int, set[int]] = {}
    for reaction, kind, value in _thumbs(message):
        async for user in reaction.users(type=kind):
            if not user.bot:
                names[user.id] = user.name
                values.setdefault(user.id, set()).add(value)
    return {number: Rater(names[number], frozenset(found)) for number, found in values.items()}


async def values_of(message: discord.Message, user_id: int) -> frozenset[int]:
    """Return the values of the thumbs that one user has on the message. Raises as `all_raters`."""
    values = set()
    # Users come in the order of their ids: the first one behind the id before is the one, or not.
    before = discord.Object(user_id - 1)
    for reaction, kind, value in _thumbs(message):
        async for user in reaction.users(limit=1, after=before, type=kind):
            if user.id == user_id:
                values.add(value)
    return frozenset(values)


def spellings(message: discord.Message, value: int) -> list[str]:
    """Return the emoji of that value that others than the bot may have on the message."""
    return list(
        dict.fromkeys(str(reaction.emoji) for reaction, _, own in _thumbs(message) if own == value)
    )


def _thumbs(
    message: discord.Message,
) -> Iterator[tuple[discord.Reaction, discord.ReactionType, int]]:
    """Every thumb, as a normal and as a super reaction, that others than the bot have given."""
    for reaction in message.reactions:
        value = rating_value(reaction.emoji)
        if value is None:
            continue
        if reaction.normal_count > int(reaction.me):
            yield reaction, discord.ReactionType.normal, value
        if reaction.burst_count > 0:
            yield reaction, discord.ReactionType.burst, value
