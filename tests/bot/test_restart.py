"""Nothing is lost when the bot ends in the middle."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from bot.app import create_bot
from bot.settings import Settings
from tests.bot.conftest import World, make_world
from tests.bot.test_imagine import contents


async def restart(world: World) -> None:
    """End the bot and start another one on the same data folder."""
    await world.bot.close()
    world.bot = create_bot(world.settings, edit_interval_s=0.0)
    await world.env.restart_bot(world.bot)


async def test_jobs_are_finished_by_the_next_run(world: World) -> None:
    running = await world.alice.slash(world.channel, "imagine", prompt="a cat", steps=60, seed=5)
    await world.until(lambda: any("step" in text for text in contents(world)))
    waiting = await world.bob.slash(world.channel, "imagine", prompt="a dog", steps=1, seed=6)
    await restart(world)
    states = {row["prompt"]: row["state"] for row in world.query("select * from jobs")}
    assert set(states) == {"a cat", "a dog"}
    assert not set(states.values()) & {"failed", "cancelled"}
    for result in (running, waiting):
        await world.clip(result.response.id)
    await world.until(
        lambda: world.query("select distinct state from jobs") == [{"state": "delivered"}]
    )
    jobs = world.query("select prompt, seed, attempts from jobs order by created_at")
    assert jobs == [
        {"prompt": "a cat", "seed": 5, "attempts": 2},
        {"prompt": "a dog", "seed": 6, "attempts": 1},
    ]
    body, _ = world.bot.metrics.exposition("")
    assert b'floor33_jobs_retried_total{reason="restart"} 1.0' in body
    assert any("after a restart" in text for text in contents(world))
    assert len(world.messages()) == 2


async def test_the_same_seed_gives_the_same_clip_after_a_restart(world: World) -> None:
    before = await world.imagine("a cat", seed=9)
    await restart(world)
    after = await world.imagine("a cat", seed=9)
    assert await before.attachments[0].read() == await after.attachments[0].read()


async def test_a_clip_that_was_rendered_is_delivered_and_not_made_again(world: World) -> None:
    await world.imagine(seed=5)
    (row,) = world.query("select * from jobs")
    world.execute("update jobs set state = 'rendered', finished_at = null")
    generations = world.query("select * from generations")
    await restart(world)
    await world.clip(row["message_id"])
    assert world.query("select * from generations") == generations
    assert world.query("select attempts from jobs") == [{"attempts": 1}]


async def test_a_clip_waits_for_a_database_that_is_locked(
    overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bot.store.backends.sqlite.BUSY_TIMEOUT_MS", 50)
    async with make_world(Settings.load(overrides=overrides), retry_s=0.1) as world:
        await world.alice.slash(world.channel, "imagine", prompt="a cat", steps=30)
        await world.until(lambda: world.query("select id from jobs where state = 'running'"))
        with closing(sqlite3.connect(world.settings.database_path)) as other:
            other.execute("begin immediate")
            await world.until(lambda: "trying again in" in caplog.text)
            assert list(world.settings.output_dir.rglob("*.mp4"))
            assert world.query("select state from jobs") == [{"state": "running"}]
            other.rollback()
        await world.until(lambda: world.query("select id from jobs where state = 'delivered'"))
        assert len(world.messages()) == 1
        assert world.query("select count(*) as n from generations") == [{"n": 1}]


async def test_a_clip_that_was_lost_is_said_to_be_lost(world: World) -> None:
    message = await world.imagine()
    (row,) = world.query("select path from generations")
    (world.settings.data_dir / row["path"]).unlink()
    world.execute("update jobs set state = 'rendered', finished_at = null")
    world.env.inject_error("GET", "/channels/*/messages/*", status=404, code=10008, times=None)
    await restart(world)
    await world.until(lambda: world.query("select * from jobs where state = 'failed'"))
    await world.until(lambda: "lost" in str(world.message(message.id).content))  # type: ignore[union-attr]


async def test_buttons_and_thumbs_outlive_the_bot(world: World) -> None:
    message = await world.imagine(steps=1)
    await restart(world)
    await world.bob.react(message, "👎")
    assert [row["value"] for row in world.query("select value from ratings")] == [-1]
    result = await world.alice.click(message, label="Re-roll")
    again = await world.clip(result.response.id)
    await world.alice.click(again, label="Delete")
    await world.alice.click(message, label="Delete")
    assert world.messages() == []


async def test_commands_are_registered_once(world: World) -> None:
    def registrations() -> int:
        return sum(
            request.method == "PUT" and request.path.endswith("/commands")
            for request in world.env.http_requests
        )

    assert registrations() == 1
    await restart(world)
    assert registrations() == 1


async def test_a_second_bot_takes_over(world: World) -> None:
    started = await world.alice.slash(world.channel, "imagine", prompt="a cat", steps=60, seed=5)
    waiting = await world.bob.slash(world.channel, "imagine", prompt="a dog", steps=60, seed=6)
    await world.until(lambda: any("step" in text for text in contents(world)))
    first = world.bot
    world.bot = create_bot(world.settings, edit_interval_s=0.0)
    await world.env.restart_bot(world.bot)  # the first one goes on, unaware
    assert not first.still_in_charge()
    assert world.bot.still_in_charge()
    for result in (started, waiting):
        message = await world.clip(result.response.id)
        assert len(message.attachments) == 1
    await world.until(lambda: not world.bot.studio.busy)
    await first.close()
    assert len(world.query("select * from generations")) == 2
    assert world.query("select distinct state from jobs") == [{"state": "delivered"}]
