"""The lease on a database: the bot that was started last changes it, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import pytest
from sqlalchemy import select, update

from bot.store import JobState, Store, StoreError, TakenOverError
from bot.store.fencing import LEASE_NAME
from bot.store.lease import LEASE_DURATION
from bot.store.tables import LeaseRow, utc_now
from tests.bot.store.databases import Location
from tests.bot.store.examples import A_JOB, rendered

PATIENCE_S = 30


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the database tells it
            await asyncio.sleep(0.02)


async def row(store: Store) -> tuple[str, int, datetime | None]:
    async with store._database.read() as session:
        found = (await session.scalars(select(LeaseRow))).one()
        return found.owner, found.epoch, found.expires_at


async def test_the_last_bot_to_acquire_the_lease_is_the_one_that_writes(
    location: Location,
) -> None:
    async with await Store.open(location) as first, await Store.open(location) as second:
        await first.lease.acquire()
        job, clip = await rendered(first)
        await second.lease.acquire()
        # At once, before the first has noticed anything.
        with pytest.raises(TakenOverError, match="another bot has taken over"):
            await first.set_job_state(job.id, JobState.DELIVERED)
        await second.set_job_state(job.id, JobState.DELIVERED)
        await until(lambda: not first.lease.is_held())
        assert second.lease.is_held()
        assert await first.get_generation(clip.id) == clip  # reading is free
        with pytest.raises(TakenOverError):
            await first.create_job(A_JOB)
        await first.lease.acquire()  # started again
        await first.create_job(A_JOB)
        await until(lambda: not second.lease.is_held())


async def test_the_epoch_grows_with_every_bot(location: Location) -> None:
    for epoch in range(1, 4):
        async with await Store.open(location) as store:
            await store.lease.acquire()
            owner, found, expires_at = await row(store)
            assert (owner, found) == (store.lease.owner, epoch)
            assert expires_at is not None
            assert utc_now() < expires_at <= utc_now() + LEASE_DURATION
    async with await Store.open(location) as store:
        assert await row(store) == ("", 3, None)


async def test_nothing_that_was_begun_before_is_committed_after(location: Location) -> None:
    """A write under way ends before the next bot has the lease, or does not begin."""
    async with await Store.open(location) as first, await Store.open(location) as second:
        await first.lease.acquire()
        async with first._database.write() as session:
            acquiring = asyncio.create_task(second.lease.acquire())
            await asyncio.sleep(0.3)
            assert not acquiring.done()
            await session.execute(update(LeaseRow).values(expires_at=None))
        await acquiring
        outcomes = await asyncio.gather(
            *(first.create_job(A_JOB) for _ in range(5)), return_exceptions=True
        )
        assert all(isinstance(outcome, TakenOverError) for outcome in outcomes)
        assert await second.unfinished_jobs() == []


async def test_bots_that_start_together_leave_one(location: Location) -> None:
    stores = [await Store.open(location) for _ in range(4)]
    await asyncio.gather(*(store.lease.acquire() for store in stores))
    written = await asyncio.gather(
        *(store.create_job(A_JOB) for store in stores), return_exceptions=True
    )
    assert sum(isinstance(outcome, TakenOverError) for outcome in written) == 3
    assert [
        store.lease.owner
        for store in stores
        if not isinstance(written[stores.index(store)], TakenOverError)
    ] == [(await row(stores[0]))[0]]
    for store in stores:
        await store.close()
    async with await Store.open(location) as store:
        assert (await row(store))[:2] == ("", 4)


async def test_a_restored_epoch_is_nobody_elses_licence(location: Location) -> None:
    """An older copy of the database may give the same epoch out again."""
    async with await Store.open(location) as first, await Store.open(location) as second:
        await first.lease.acquire()
        async with second._database.write() as session:
            await session.execute(update(LeaseRow).values(epoch=0))
        await second.lease.acquire()
        assert (await row(second))[1] == 1
        with pytest.raises(TakenOverError):
            await first.create_job(A_JOB)


async def test_the_heartbeat_renews(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.store.lease._LOOK_S", 0.02)
    monkeypatch.setattr("bot.store.lease._RENEW_S", 0.05)
    async with await Store.open(location) as store:
        await store.lease.acquire()
        acquired = (await row(store))[2]
        assert acquired is not None
        while (now := (await row(store))[2]) is None or now <= acquired:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert store.lease.is_held()


async def test_renewing_does_not_wait_for_a_locked_file(file_store: Store) -> None:
    await file_store.lease.acquire()
    async with await Store.open(file_store.path) as other:
        async with other._database.write(), asyncio.timeout(5):
            with pytest.raises(StoreError, match="keeps the database locked"):
                await file_store.lease.renew()
        async with other._database.write():
            waiting = asyncio.create_task(file_store.create_job(A_JOB))
            await asyncio.sleep(0.3)
            assert not waiting.done()  # others still wait
        await waiting
    assert file_store.lease.is_held()


async def test_a_command_beside_the_bot_writes_and_takes_nothing_over(
    location: Location,
) -> None:
    async with await Store.open(location) as bot:
        await bot.lease.acquire()
        async with await Store.open(location) as command:
            assert not command.lease.is_held()
            assert not command.lease.is_lost()
            await command.block(7)
        assert bot.lease.is_held()
        assert await bot.is_blocked(7)
        await bot.create_job(A_JOB)


async def test_a_bot_that_was_taken_over_leaves_the_lease_alone(location: Location) -> None:
    async with await Store.open(location) as second:
        async with await Store.open(location) as first:
            await first.lease.acquire()
            await second.lease.acquire()
        assert (await row(second))[:2] == (second.lease.owner, 2)
        await second.create_job(A_JOB)


async def test_it_is_said_when_the_one_before_had_not_ended(
    location: Location, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with await Store.open(location) as first, await Store.open(location) as second:
        await first.lease.acquire()
        assert "took over" not in caplog.text
        await second.lease.acquire()
        assert f"took over from {first.lease.owner}" in caplog.text
    caplog.clear()
    async with await Store.open(location) as third:
        await third.lease.acquire()
        assert "took over" not in caplog.text


async def test_closing_does_not_wait_for_a_locked_database(location: Location) -> None:
    other = await Store.open(location)
    store = await Store.open(location)
    await store.lease.acquire()
    async with other._database.write() as session, asyncio.timeout(5):
        await session.execute(select(LeaseRow).where(LeaseRow.name == LEASE_NAME).with_for_update())
        await store.close()
    with pytest.raises(StoreError, match="closed"):
        await store.create_job(A_JOB)
    await other.close()
