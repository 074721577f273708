"""One call to Discord that hangs, or is held by a limit, holds up nothing but itself."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import pytest

from tests.bot.faults import click, found, settled, slash, waiting_job
from tests.bot.test_loopback import Studio, studio
from tests.loopback_discord import Call
from tests.loopback_discord.answers import has_clip, is_card, limited

__all__ = ["studio"]

SOON_S = 20.0
HANG_S = 120.0


@pytest.mark.parametrize("how", ["hangs", "limited", "limited everywhere"])
async def test_the_first_card_does_not_hold_up_the_clip_itself(studio: Studio, how: str) -> None:
    """The job is stored: it is carried out, whatever becomes of its message."""
    met: list[Call] = []

    async def hook(call: Call, done: bool) -> int | None:
        if not done and is_card(call) and not met:
            met.append(call)
            if how != "hangs":
                raise limited(600.0, everywhere=how == "limited everywhere")
            await asyncio.sleep(HANG_S)
        return None

    studio.discord.hook(hook)
    await studio.imagine()
    begun = "select 1 from jobs where state in ('running', 'rendered', 'delivered')"
    assert await found(studio, begun, SOON_S)
    assert met


async def test_a_progress_edit_that_hangs_does_not_hold_up_the_finished_clip(
    studio: Studio,
) -> None:
    met: list[Call] = []

    async def hook(call: Call, done: bool) -> int | None:
        progress = call.method == "PATCH" and not has_clip(call)
        if not done and progress and "Rendering" in str(call.payload.get("content")) and not met:
            met.append(call)
            await asyncio.sleep(HANG_S)
        return None

    studio.discord.hook(hook)
    await studio.imagine(steps=20)
    assert await found(studio, "select 1 from jobs where state = 'delivered'", SOON_S)
    assert met


async def test_cancel_all_ends_all_though_one_card_cannot_be_told(studio: Studio) -> None:
    """Discord is out of order for one message: the others are cancelled at once all the same."""
    for prompt in ("one", "two", "three"):
        await waiting_job(studio, prompt=prompt)
    messages = studio.discord.state.messages
    stuck: list[str] = []

    async def hook(call: Call, done: bool) -> int | None:
        if not done and is_card(call) and "Cancelled" in str(call.payload.get("content")):
            stuck.append(call.path.rpartition("/messages/")[2])
            return 502 if stuck[-1] == stuck[0] else None
        return None

    studio.discord.hook(hook)
    await slash(studio, "cancel")
    cancelled = [{"state": "cancelled"}] * 3
    await studio.until(lambda: studio.query("select state from jobs") == cancelled)
    await studio.until(lambda: stuck)
    await studio.until(lambda: sum(m.content == "Cancelled." for m in messages.values()) >= 2)


async def test_cancelled_at_once_though_the_database_cannot_be_written(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who cancels waits for no backup tool, and the device makes nothing for nobody."""
    monkeypatch.setattr("bot.store.backends.sqlite.BUSY_TIMEOUT_MS", 50)
    card, job_id = await waiting_job(studio)
    with closing(sqlite3.connect(studio.settings.database_path)) as other:
        other.execute("begin immediate")
        await click(studio, f"floor33:cancel:{job_id}", card.id)
        await studio.until(lambda: card.content == "Cancelled.")
        await studio.until(lambda: not studio.bot.engine.queue().waiting)
        assert studio.query("select state from jobs") == [{"state": "queued"}]
        other.rollback()
    await settled(studio)
    assert studio.query("select state from jobs") == [{"state": "cancelled"}]


async def test_what_was_said_to_be_cancelled_stays_so(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bot ends before the database could be told: the next one reads it from the card."""
    monkeypatch.setattr("bot.store.backends.sqlite.BUSY_TIMEOUT_MS", 50)
    card, job_id = await waiting_job(studio)
    with closing(sqlite3.connect(studio.settings.database_path)) as other:
        other.execute("begin immediate")
        await click(studio, f"floor33:cancel:{job_id}", card.id)
        await studio.until(lambda: card.content == "Cancelled.")
        async with asyncio.timeout(20):
            await studio.bot.close()
        other.rollback()
    async with studio.next_bot():
        await found(studio, "select 1 from jobs where state = 'cancelled'")
        await asyncio.sleep(0.5)
    assert studio.query("select state from jobs") == [{"state": "cancelled"}]
    assert [message.content for message in studio.discord.state.shown()] == ["Cancelled."]


async def test_cancelled_while_it_is_handed_to_the_engine(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody hears of the engine's job: it must not be made all the same."""
    engine = studio.bot.engine
    entered, enqueue = asyncio.Event(), engine.enqueue
    loop = asyncio.get_running_loop()
    jobs = []

    def slow(*job, **owner):  # type: ignore[no-untyped-def]
        loop.call_soon_threadsafe(entered.set)
        asyncio.run(asyncio.sleep(1.0))
        jobs.append(enqueue(*job, **owner))
        return jobs[-1]

    monkeypatch.setattr(engine, "enqueue", slow)
    await studio.imagine(steps=60)
    await asyncio.wait_for(entered.wait(), 30)
    await slash(studio, "cancel")
    await studio.until(lambda: studio.query("select 1 from jobs where state = 'cancelled'"))
    await studio.until(lambda: jobs and jobs[0].ended)
    assert not engine.queue().running
    assert not engine.queue().waiting
