"""What a moderator removes does not come back, in the channel or anywhere else."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from bot.settings import Settings
from tests.bot.conftest import World, make_world
from tests.bot.faults import click, direct, private, settled, states, waiting_job
from tests.bot.test_loopback import Studio, studio
from tests.loopback_discord import Call
from tests.loopback_discord.answers import has_clip, html

__all__ = ["studio"]


async def all_cancelled(world: World) -> None:
    await world.until(lambda: world.query("select 1 from jobs"))
    await world.until(lambda: not world.query("select 1 from jobs where state <> 'cancelled'"))
    await asyncio.sleep(1)
    await world.env.settle()


async def test_a_deleted_card_is_not_posted_again(world: World) -> None:
    said = await world.alice.slash(world.channel, "imagine", prompt="against the rules", steps=60)
    await world.moderator.delete(world.message(said.response.id))
    await all_cancelled(world)
    assert world.messages() == []


async def test_several_deleted_at_once(world: World) -> None:
    """A purge, of a job that runs and others that wait."""
    cards = [
        await who.slash(world.channel, "imagine", prompt="against the rules", steps=60)
        for who in (world.alice, world.bob, world.alice)
    ]
    await asyncio.gather(*(world.bot.studio.message_gone(card.response.id) for card in cards))
    for card in cards:
        await world.moderator.delete(world.message(card.response.id))
    await all_cancelled(world)
    assert world.messages() == []


async def test_no_direct_message_where_the_channel_takes_none(world: World) -> None:
    said = await world.alice.slash(world.channel, "imagine", prompt="against the rules", steps=60)
    path = f"/channels/{world.channel.id}/messages"
    world.env.inject_error("POST", path, status=403, code=50013, times=None)
    await world.moderator.delete(world.message(said.response.id))
    await all_cancelled(world)
    direct_messages = [
        request
        for request in world.env.http_requests
        if request.method == "POST"
        and request.path.endswith("/messages")
        and str(world.channel.id) not in request.path
    ]
    assert direct_messages == []


async def test_over_the_wire(studio: Studio) -> None:
    card, _ = await waiting_job(studio)
    del studio.discord.state.messages[card.id]
    await studio.bot.studio.message_gone(card.id)
    assert await states(studio) == ["cancelled"]
    await asyncio.sleep(1)
    assert studio.discord.state.shown() == []
    assert not direct(studio)


@pytest.mark.parametrize("told_late", [False, True])
async def test_a_message_deleted_during_its_upload(studio: Studio, told_late: bool) -> None:
    """Discord is well; the event may come after the refused edit."""
    asked = await studio.imagine()
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def hook(call: Call, done: bool) -> int | None:
        if not done and has_clip(call) and not gone.is_set():
            studio.discord.state.messages.pop(asked.message_id or 0, None)
            loop.call_soon_threadsafe(gone.set)
            await asyncio.sleep(0.0 if told_late else 1.0)
        return None

    studio.discord.hook(hook)
    await asyncio.wait_for(gone.wait(), 60)
    if told_late:
        await asyncio.sleep(0.3)
    await studio.bot.studio.message_gone(asked.message_id or 0)
    assert await states(studio) == ["cancelled"]
    await asyncio.sleep(1)
    assert studio.discord.state.shown() == []
    assert not list(studio.settings.data_dir.rglob("outputs/**/*.mp4"))


async def test_a_message_deleted_while_its_clip_cannot_be_recorded(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clip is there, the database does not know yet: it must not be made and shown again."""
    monkeypatch.setattr("bot.store.backends.sqlite.BUSY_TIMEOUT_MS", 50)
    monkeypatch.setattr("bot.jobs.runner._RECORD_S", 0.2)
    loop, made = asyncio.get_running_loop(), asyncio.Event()
    other = sqlite3.connect(studio.settings.database_path, check_same_thread=False)

    async def hook(call: Call, done: bool) -> int | None:
        if not done and "step 2/2" in str(call.payload.get("content")) and not made.is_set():
            other.execute("begin immediate")
        if not done and has_clip(call):
            loop.call_soon_threadsafe(made.set)
            await asyncio.sleep(0.5)
        return None

    studio.discord.hook(hook)
    with closing(other):
        asked = await studio.imagine()
        await asyncio.wait_for(made.wait(), 60)
        studio.discord.state.messages.pop(asked.message_id or 0, None)
        gone = asyncio.create_task(studio.bot.studio.message_gone(asked.message_id or 0))
        await asyncio.sleep(0.5)
        other.rollback()
        await gone
    assert await states(studio) == ["cancelled"]
    await asyncio.sleep(1)
    assert studio.discord.state.shown() == []
    await studio.bot.close()
    async with studio.next_bot() as bot:
        await asyncio.sleep(1)
        assert not bot.studio.busy
    assert studio.discord.state.shown() == []


async def test_a_card_deleted_while_its_upload_is_tried_again(overrides: dict[str, Any]) -> None:
    """Discord is out of order then, and well again later."""
    async with make_world(Settings.load(overrides=overrides), retry_s=0.05) as world:
        said = await world.alice.slash(world.channel, "imagine", prompt="a cat", steps=20)
        for path in ("/channels/*/messages/*", "/webhooks/*"):
            world.env.inject_error("PATCH", path, status=500, times=None)
        await world.until(lambda: world.query("select id from jobs where state = 'rendered'"))
        await world.moderator.delete(world.message(said.response.id))
        await asyncio.sleep(0.5)
        world.env.backend.faults.clear()
        await world.until(lambda: not world.bot.studio.busy)
        list(world.env.errors)
        assert world.messages() == []
        (row,) = world.query("select deleted_at from generations")
        assert row["deleted_at"] is not None


async def test_cancelled_a_moment_after_its_message_went(studio: Studio) -> None:
    card, job_id = await waiting_job(studio)

    async def hook(call: Call, done: bool) -> int | None:
        if done and call.path.endswith("/callback"):
            studio.discord.state.messages.pop(card.id, None)
        return None

    studio.discord.hook(hook)
    await click(studio, f"floor33:cancel:{job_id}", card.id)
    assert await states(studio) == ["cancelled"]
    assert not private(studio)


async def test_deleted_by_a_button_while_the_answer_is_a_page(studio: Studio) -> None:
    """The clip that could not be sent here is deleted by the button under its card."""

    async def refuse(call: Call, done: bool) -> int | None:
        return 400 if not done and has_clip(call) else None

    studio.discord.hook(refuse)
    asked = await studio.imagine()
    assert await states(studio) == ["rendered"]
    (row,) = studio.query("select id, path from generations")
    met: list[Call] = []

    async def page(call: Call, done: bool) -> int | None:
        if not done and call.method == "DELETE" and not met:
            met.append(call)
            raise html(403)
        return None

    studio.discord.hook(page)
    await click(studio, f"floor33:delete:{row['id']}", asked.message_id or 0)
    await settled(studio)
    assert met
    assert studio.discord.state.shown() == []
    assert await states(studio) == ["cancelled"]
    assert not (studio.settings.data_dir / row["path"]).exists()
