"""PostgreSQL behind a pooler: session mode works as it comes, other modes are refused in words."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

from bot.store import ErrorKind, JobState, Store, StoreError, TakenOverError
from bot.store.backends.postgres import server_version
from tests.bot.store.databases import PostgresServer
from tests.bot.store.examples import A_JOB
from tests.bot.store.pooler import pooler

PATIENCE_S = 30


def through(port: int, address: str) -> str:
    return f"postgresql://floor33@127.0.0.1:{port}/{urlsplit(address).path[1:]}"


async def test_session_mode_with_the_poolers_defaults(postgres: PostgresServer) -> None:
    with pooler(postgres, "session") as port:
        async with await Store.open(through(port, postgres.empty())) as store:
            await store.lease.acquire()
            await store.check_writable()
            job = await store.create_job(A_JOB)
            await store.set_job_state(job.id, JobState.RUNNING)
            assert [kept.id for kept in await store.unfinished_jobs()] == [job.id]
            assert store.lease.is_held()


async def test_the_sessions_have_their_settings(postgres: PostgresServer) -> None:
    with pooler(postgres, "session") as port:
        address = through(port, postgres.new())
        async with await Store.open(address) as store, store._database.write() as session:
            connection = await session.connection()
            found = [
                (await connection.exec_driver_sql(f"SHOW {name}")).scalar_one()
                for name in (
                    "application_name",
                    "lock_timeout",
                    "idle_in_transaction_session_timeout",
                    "timezone",
                )
            ]
    assert found == ["floor33", "10s", "1min", "UTC"]


async def test_the_last_bot_wins_through_a_pooler(postgres: PostgresServer) -> None:
    with pooler(postgres, "session") as port:
        address = through(port, postgres.new())
        async with await Store.open(address) as first, await Store.open(address) as second:
            await first.lease.acquire()
            await first.create_job(A_JOB)
            await second.lease.acquire()
            with pytest.raises(TakenOverError):
                await first.create_job(A_JOB)
            await second.create_job(A_JOB)
            async with asyncio.timeout(PATIENCE_S):
                while first.lease.is_held():  # noqa: ASYNC110 - the server tells it
                    await asyncio.sleep(0.02)
            assert second.lease.is_held()


async def test_a_bot_beside_the_pooler_takes_over_from_one_behind_it(
    postgres: PostgresServer,
) -> None:
    direct = postgres.new()
    with pooler(postgres, "session") as port:
        async with await Store.open(through(port, direct)) as first:
            await first.lease.acquire()
            async with await Store.open(direct) as second:
                await second.lease.acquire()
                with pytest.raises(TakenOverError):
                    await first.create_job(A_JOB)
                await second.create_job(A_JOB)


@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("transaction", ()),
        ("transaction", ("server_round_robin = 1", "min_pool_size = 4")),
        ("transaction", ("default_pool_size = 1",)),
        ("statement", ()),
    ],
)
async def test_a_pooler_that_shares_sessions_is_refused(
    postgres: PostgresServer, mode: str, settings: tuple[str, ...]
) -> None:
    with pooler(postgres, mode, *settings) as port:
        address = through(port, postgres.empty())
        for ask in (Store.open, server_version):
            with pytest.raises(StoreError, match="session mode") as refused:
                await ask(address)  # type: ignore[operator]
            assert refused.value.kind is ErrorKind.DENIED
            assert "\n" not in str(refused.value)


async def test_a_pooler_without_its_server_is_no_traceback(postgres: PostgresServer) -> None:
    with pooler(postgres, "session") as port:
        address = f"postgresql://floor33@127.0.0.1:{port}/floor33_nowhere"
        with pytest.raises(StoreError) as refused:
            await Store.open(address)
    assert str(refused.value).startswith("database postgresql://floor33@127.0.0.1")
    assert "\n" not in str(refused.value)
