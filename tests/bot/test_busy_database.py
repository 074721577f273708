"""Somebody else writes to the database for longer than is waited: nothing hangs or is forgotten."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from bot.app import create_bot
from bot.settings import Settings
from bot.store import ErrorKind, Store, StoreError
from engine.serving import Engine
from prompt_expansion import Expansion
from tests.bot.conftest import World, make_world
from tests.bot.faults import found, states
from tests.bot.test_loopback import Studio, studio

__all__ = ["studio"]


def lock(world: World | Studio, seconds: float) -> sqlite3.Connection:
    """Keep everybody else from writing."""
    other = sqlite3.connect(world.settings.database_path, check_same_thread=False)
    other.execute("begin immediate")
    asyncio.get_running_loop().call_later(seconds, other.close)
    return other


def lock_after_expansion(world: World | Studio, seconds: float) -> None:
    """Lock the database as soon as the words of a prompt are there."""
    expand: Callable[[str], Any] = world.bot.expander.expand

    async def then_lock(prompt: str) -> Expansion:
        expansion: Expansion = await expand(prompt)
        lock(world, seconds)
        return expansion

    world.bot.expander.expand = then_lock  # type: ignore[method-assign]


async def answers(said: Any) -> list[str]:
    return [answer.content for answer in [said.response, *said.followups] if answer is not None]


@pytest.fixture
async def busy(overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A world whose bot waits for its database for a moment only."""
    monkeypatch.setattr("bot.store.backends.sqlite.BUSY_TIMEOUT_MS", 50)
    async with make_world(Settings.load(overrides=overrides), retry_s=0.1) as world:
        yield world


async def pass_time(world: World) -> None:
    """Move SimCord's clock on, which waits in event handlers go by."""
    for _ in range(8):
        await asyncio.sleep(0.1)
        await world.env.advance_time(300.0)


async def test_an_expansion_that_cannot_be_stored_now(busy: World) -> None:
    lock_after_expansion(busy, 1.0)
    await busy.alice.slash(busy.channel, "imagine", prompt="a cat", expand=True, steps=1)
    await busy.until(lambda: busy.query("select 1 from jobs where state = 'delivered'"))
    assert len(busy.query("select * from expansions")) == 1
    list(busy.env.errors)


async def test_an_expansion_that_cannot_be_stored_for_long(studio: Studio) -> None:
    """In real time, with the timeout as it is shipped."""
    lock_after_expansion(studio, 13.0)
    await studio.imagine(expand=True)
    assert await found(studio, "select 1 from jobs where state = 'delivered'", 60)


async def test_an_expander_that_breaks(studio: Studio) -> None:
    async def broken(prompt: str) -> Expansion:
        raise RuntimeError(prompt)

    studio.bot.expander.expand = broken  # type: ignore[method-assign]
    asked = await studio.imagine(expand=True)
    assert await states(studio) == ["delivered"]
    card = studio.discord.state.messages[asked.message_id or 0]
    assert "own words" in str(card.embeds)


async def test_a_command(busy: World) -> None:
    other = lock(busy, 1.0)
    said = await busy.alice.slash(busy.channel, "imagine", prompt="a dog", steps=1)
    await asyncio.sleep(1.2)
    other.close()
    told = " ".join(await answers(said))
    assert "went wrong on our side" not in told
    assert "Try again later" in told
    list(busy.env.errors)


async def test_the_message_of_a_running_job_deleted(busy: World) -> None:
    said = await busy.alice.slash(busy.channel, "imagine", prompt="a cat", steps=60)
    await busy.until(lambda: busy.query("select id from jobs where state = 'running'"))
    lock(busy, 0.7)
    await busy.moderator.delete(busy.message(said.response.id))
    await asyncio.sleep(1.0)
    await pass_time(busy)
    await busy.until(lambda: busy.query("select 1 from jobs where state = 'cancelled'"))
    list(busy.env.errors)


async def test_the_same_over_the_wire(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.store.backends.sqlite.BUSY_TIMEOUT_MS", 50)
    asked = await studio.imagine(steps=60)
    await found(studio, "select id from jobs where state = 'running'")
    lock(studio, 1.0)
    await studio.bot.studio.message_gone(asked.message_id or 0)
    assert await states(studio) == ["cancelled"]


async def test_one_job_of_the_last_run_that_breaks_leaves_the_others_theirs(
    overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_world(Settings.load(overrides=overrides)) as world:
        await world.alice.slash(world.channel, "imagine", prompt="a cat", steps=60)
        await world.until(lambda: world.query("select id from jobs where state = 'running'"))
        await world.bob.slash(world.channel, "imagine", prompt="a dog", steps=1)
        await world.bot.close()
        enqueue = Engine.enqueue

        def breaks(self: Engine, job_id: str, settings: Any, **owner: Any) -> Any:
            if settings.params.prompt == "a cat":
                raise OSError(5, "Input/output error")
            return enqueue(self, job_id, settings, **owner)

        monkeypatch.setattr(Engine, "enqueue", breaks)
        world.bot = create_bot(world.settings, edit_interval_s=0.0, retry_s=0.1)
        await world.env.restart_bot(world.bot)
        await world.until(
            lambda: world.query("select 1 from jobs where prompt = 'a dog' and state = 'delivered'")
        )
        await world.until(
            lambda: world.query("select 1 from jobs where prompt = 'a cat' and state = 'failed'")
        )
        list(world.env.errors)


@pytest.mark.parametrize("look", ["requeue_running", "unfinished_jobs", "past_generations"])
async def test_a_first_look_that_fails_once_costs_no_job(
    overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    """As when a database server restarts just then."""
    async with make_world(Settings.load(overrides=overrides)) as world:
        await world.alice.slash(world.channel, "imagine", prompt="a cat", steps=60)
        await world.until(lambda: world.query("select id from jobs where state = 'running'"))
        await world.bot.close()
        failed: list[str] = []
        read = getattr(Store, look)

        async def once(self: Store, *values: Any) -> Any:
            if not failed:
                failed.append(look)
                raise StoreError("the database restarts", kind=ErrorKind.UNREACHABLE)
            return await read(self, *values)

        monkeypatch.setattr(Store, look, once)
        world.bot = create_bot(world.settings, edit_interval_s=0.0, retry_s=0.1)
        await world.env.restart_bot(world.bot)
        await world.until(lambda: world.query("select 1 from jobs where state = 'delivered'"))
        assert failed
        list(world.env.errors)


async def test_a_waiting_job_whose_model_is_gone(overrides: dict[str, Any]) -> None:
    """Its card says so, and does not stand at "Accepted"."""
    async with make_world(Settings.load(overrides=overrides)) as world:
        await world.alice.slash(world.channel, "imagine", prompt="a cat", steps=60)
        waiting = await world.bob.slash(world.channel, "imagine", prompt="a dog", steps=1)
        await world.bot.close()
        world.execute("update jobs set model = 'old-model' where prompt = 'a dog'")
        world.bot = create_bot(world.settings, edit_interval_s=0.0)
        await world.env.restart_bot(world.bot)
        await world.until(
            lambda: world.query("select 1 from jobs where prompt = 'a dog' and state = 'failed'")
        )
        message_id = waiting.response.id
        await world.until(lambda: "old-model" in getattr(world.message(message_id), "content", ""))
