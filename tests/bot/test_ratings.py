"""Thumbs become ratings: one per person, revocable, by raw events."""

from __future__ import annotations

from typing import Any

import discord
import pytest

from bot.ratings import rating_value
from tests.bot.conftest import World


def ratings(world: World) -> dict[int, tuple[int, int]]:
    rows = world.query("select user_id, value, self_vote from ratings")
    assert len({row["user_id"] for row in rows}) == len(rows)
    return {row["user_id"]: (row["value"], row["self_vote"]) for row in rows}


@pytest.fixture
async def clip(world: World) -> Any:
    return await world.imagine(steps=1)


async def test_add_replace_and_take_back(world: World, clip: Any) -> None:
    assert ratings(world) == {}  # the bot's own thumbs are none
    # A bot that may not tidy up: both of bob's thumbs stay.
    world.env.inject_error("DELETE", "*/reactions/*", status=403, code=50013, times=None)
    bob = world.bob
    await bob.react(clip, "👍")
    assert ratings(world) == {bob.id: (1, 0)}
    await bob.react(clip, "👎")
    assert ratings(world) == {bob.id: (-1, 0)}
    await bob.unreact(clip, "👍")
    assert ratings(world) == {bob.id: (-1, 0)}
    await bob.unreact(clip, "👎")
    assert ratings(world) == {}


async def test_everyone_has_one(world: World, clip: Any) -> None:
    await world.bob.react(clip, "👍")
    await world.moderator.react(clip, "👎")
    assert ratings(world) == {world.bob.id: (1, 0), world.moderator.id: (-1, 0)}


async def test_a_vote_for_oneself_is_marked(world: World, clip: Any) -> None:
    await world.alice.react(clip, "👍")
    assert ratings(world) == {world.alice.id: (1, 1)}


async def test_bots_and_other_emoji_do_not_count(world: World, clip: Any) -> None:
    robot = world.guild.add_member(world.env.create_user("robot", bot=True))
    await robot.react(clip, "👍")
    await world.bob.react(clip, "🎉")
    assert ratings(world) == {}


async def test_reactions_elsewhere_do_not_count(world: World, clip: Any) -> None:
    message = await world.bob.send(world.channel, "hello")
    await world.bob.react(message, "👍")
    assert ratings(world) == {}


async def test_clearing_reactions_clears_ratings(world: World, clip: Any) -> None:
    await world.bob.react(clip, "👍")
    await world.moderator.react(clip, "👎")
    backend = world.env.backend
    backend.clear_reaction(world.channel.id, clip.id, "👎")
    await world.env.settle()
    assert ratings(world) == {world.bob.id: (1, 0)}
    backend.clear_reactions(world.channel.id, clip.id)
    await world.env.settle()
    assert ratings(world) == {}


async def test_where_it_may_the_bot_removes_the_thumb_that_was_replaced(
    world: World, clip: Any
) -> None:
    def thumbs() -> dict[str, int]:
        found = world.message(clip.id)
        assert found is not None
        return {str(reaction.emoji): reaction.count for reaction in found.reactions}

    await world.bob.react(clip, "👍")
    await world.bob.react(clip, "👎")
    await world.env.settle()
    assert thumbs() == {"👍": 1, "👎": 2}
    assert ratings(world) == {world.bob.id: (-1, 0)}


@pytest.mark.parametrize(
    ("emoji", "value"), [("👍", 1), ("👍🏽", 1), ("👎🏿", -1), ("❤️", None), ("👊", None)]
)
def test_values(emoji: str, value: int | None) -> None:
    assert rating_value(discord.PartialEmoji(name=emoji)) == value


def test_an_emoji_of_a_server_is_no_thumb() -> None:
    assert rating_value(discord.PartialEmoji(name="👍", id=1)) is None
