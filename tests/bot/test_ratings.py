"""Thumbs become ratings: one per person, revocable, by raw events."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import discord
import pytest

from bot.commands.reactions import rating_value
from bot.settings import Settings
from tests.bot.conftest import World, make_world


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


# ------------------------------------------------------------- skin tones and super reactions


async def test_clearing_one_skin_tone_keeps_the_ratings_of_the_others(
    world: World, clip: Any
) -> None:
    await world.bob.react(clip, "👍")
    await world.moderator.react(clip, "👍🏽")
    world.env.backend.clear_reaction(world.channel.id, clip.id, "👍🏽")
    await world.env.settle()
    assert ratings(world) == {world.bob.id: (1, 0)}


async def test_taking_one_of_two_skin_tones_back_keeps_the_rating(world: World, clip: Any) -> None:
    await world.bob.react(clip, "👍")
    await world.bob.react(clip, "👍🏽")
    await world.bob.unreact(clip, "👍🏽")
    assert ratings(world) == {world.bob.id: (1, 0)}
    await world.bob.unreact(clip, "👍")
    assert ratings(world) == {}


async def test_taking_the_later_thumb_back_leaves_the_earlier_one(world: World, clip: Any) -> None:
    world.env.inject_error("DELETE", "*/reactions/*", status=403, code=50013, times=1)
    await world.bob.react(clip, "👍🏿")
    await world.bob.react(clip, "👎")
    assert ratings(world) == {world.bob.id: (-1, 0)}
    await world.bob.unreact(clip, "👎")
    assert ratings(world) == {world.bob.id: (1, 0)}


async def test_taking_a_super_reaction_back_keeps_the_plain_one(world: World, clip: Any) -> None:
    await world.bob.react(clip, "👍")
    event = {
        "user_id": str(world.bob.id),
        "message_id": str(clip.id),
        "channel_id": str(world.channel.id),
        "guild_id": str(world.guild.id),
        "emoji": {"id": None, "name": "👍"},
        "type": 1,
        "burst": True,
    }
    world.env.backend.emit("MESSAGE_REACTION_REMOVE", event)
    await world.env.settle()
    assert ratings(world) == {world.bob.id: (1, 0)}


async def test_the_replaced_thumb_goes_in_any_skin_tone(world: World, clip: Any) -> None:
    await world.bob.react(clip, "👎🏽")
    await world.bob.react(clip, "👍")
    await world.env.settle()
    shown = world.message(clip.id)
    assert shown is not None
    assert "👎🏽" not in {str(reaction.emoji) for reaction in shown.reactions}
    assert ratings(world) == {world.bob.id: (1, 0)}


@pytest.mark.parametrize(("status", "code"), [(403, 50001), (404, 0), (500, 0)])
async def test_without_a_look_at_the_message_a_thumb_is_taken_back_all_the_same(
    world: World, clip: Any, status: int, code: int
) -> None:
    await world.bob.react(clip, "👍")
    await world.moderator.react(clip, "👎")
    world.env.inject_error("GET", "/channels/*/messages/*", status=status, code=code, times=None)
    await world.bob.unreact(clip, "👍")
    world.env.backend.clear_reaction(world.channel.id, clip.id, "👎")
    await world.env.settle()
    await world.until(lambda: ratings(world) == {})


# ------------------------------------------------------------------ names, and a locked database


async def test_a_thumb_in_a_direct_message_keeps_the_name(world: World) -> None:
    """Such an event brings an id only."""
    dana = world.env.create_user("dana")
    world.guild.add_member(dana)
    await dana.slash("imagine", prompt="a cat", steps=1)
    await world.until(lambda: world.query("select 1 from jobs where state = 'delivered'"))
    (message,) = (m for m in dana.dm_channel.history() if m.attachments)
    await dana.set_reaction(message, "👍", reacted=True)
    await world.env.settle()
    await world.until(lambda: world.query("select value, self_vote from ratings"))
    assert world.query("select name from users") == [{"name": "dana"}]


@pytest.fixture
async def busy(overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr("bot.store.backends.sqlite.BUSY_TIMEOUT_MS", 50)
    async with make_world(Settings.load(overrides=overrides), retry_s=0.1) as made:
        yield made


def lock(world: World, seconds: float = 0.7) -> None:
    """Have another program write to the database for so long."""
    other = sqlite3.connect(world.settings.database_path)
    other.execute("begin immediate")
    asyncio.get_running_loop().call_later(seconds, other.close)


async def test_what_discord_tells_once_waits_for_a_locked_database(busy: World) -> None:
    world, clip = busy, await busy.imagine(steps=1)
    lock(world)
    await world.bob.react(clip, "👍")
    await world.until(lambda: ratings(world) == {world.bob.id: (1, 0)})
    lock(world)
    await world.bob.unreact(clip, "👍")
    await world.until(lambda: ratings(world) == {})
    await world.bob.react(clip, "👍")
    lock(world)
    world.env.backend.clear_reactions(world.channel.id, clip.id)
    await world.until(lambda: ratings(world) == {})
    await world.bob.react(clip, "👎")
    lock(world)
    world.env.backend.clear_reaction(world.channel.id, clip.id, "👎")
    await world.until(lambda: ratings(world) == {})


async def test_events_of_one_message_are_carried_out_in_their_order(busy: World) -> None:
    world, clip = busy, await busy.imagine(steps=1)
    lock(world)
    await world.bob.react(clip, "👍")
    await world.bob.react(clip, "👎")
    await world.bob.unreact(clip, "👎")
    await world.moderator.react(clip, "👎")
    await world.until(lambda: ratings(world).get(world.moderator.id) == (-1, 0))
    assert world.bob.id not in ratings(world)


async def test_a_deletion_waits_for_a_locked_database(busy: World) -> None:
    world, clip = busy, await busy.imagine(steps=1)
    lock(world)
    await world.moderator.delete(clip)
    await world.until(lambda: world.query("select 1 from generations where deleted_at is not null"))
