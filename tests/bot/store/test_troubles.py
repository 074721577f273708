"""Failures of a database: their kind, what users are told, and what is not said."""

from __future__ import annotations

import asyncio
import resource
import signal
import sqlite3
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from bot.operations.metrics import Metrics
from bot.store import ErrorKind, Store, StoreError, TakenOverError, Trouble
from bot.store.backends.sqlite import translate_db_error
from bot.store.retry import database_pauses, retry_write
from tests.bot.store.databases import PostgresServer
from tests.bot.store.examples import A_JOB, A_PICTURE, AN_ANIMATION, changed

SECRETS = ("something between us", "token-of-an-interaction")
A_SECRET_JOB = changed(A_JOB, prompt=SECRETS[0], interaction_token=SECRETS[1])


def everything(error: BaseException) -> str:
    """Return an error as a log shows it, its causes included."""
    return "".join(traceback.format_exception(error))


@contextmanager
def no_file_grows() -> Iterator[None]:
    """SQLite meets an I/O error, as with a quota that is used up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


async def test_an_io_error_passes(file_store: Store) -> None:
    await file_store.create_job(A_JOB)
    with no_file_grows(), pytest.raises(StoreError, match="reading or writing") as failed:
        await file_store.create_job(A_SECRET_JOB)
    assert failed.value.kind is ErrorKind.IO
    assert failed.value.kind.passes
    await file_store.create_job(A_JOB)


async def test_a_write_is_made_again_once_the_disk_works(file_store: Store) -> None:
    tried = 0

    async def write() -> str:
        nonlocal tried
        tried += 1
        if tried > 2:
            return (await file_store.create_job(A_JOB)).id
        with no_file_grows():
            return (await file_store.create_job(A_JOB)).id

    job = await retry_write(write, (0.0, 0.0, 0.0))
    assert tried == 3
    assert [kept.id for kept in await file_store.unfinished_jobs()] == [job]


@pytest.mark.parametrize("trouble", list(ErrorKind))
async def test_what_an_operator_mends_is_tried_again(trouble: ErrorKind) -> None:
    tries = 0

    async def write() -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise StoreError("database x: not now", kind=trouble)

    if trouble.passes:
        await retry_write(write, (0.0, 0.0, 0.0))
        assert tries == 3
    else:
        with pytest.raises(StoreError):
            await retry_write(write, (0.0, 0.0, 0.0))
        assert tries == 1


def test_troubles_that_pass() -> None:
    assert {trouble for trouble in ErrorKind if not trouble.passes} == {
        ErrorKind.DAMAGED,
        ErrorKind.GONE,
        ErrorKind.OTHER,
    }


async def test_a_bot_that_was_taken_over_does_not_try_again() -> None:
    async def write() -> None:
        raise TakenOverError("x")

    with pytest.raises(TakenOverError) as refused:
        await retry_write(write, (0.0,))
    assert "restarted" in refused.value.for_users


def test_the_earlier_names_work() -> None:
    error = StoreError("database x: not now", trouble=Trouble.BUSY)
    assert error.kind is error.trouble is ErrorKind.BUSY


def test_nobody_waits_longer_than_a_minute_for_the_next_try() -> None:
    pauses = database_pauses()
    found = [next(pauses) for _ in range(50)]
    assert found[0] <= 1
    assert max(found) <= 60
    assert found == sorted(found)


@pytest.mark.parametrize("trouble", list(ErrorKind))
def test_users_are_told_one_sentence_without_names(trouble: ErrorKind) -> None:
    said = StoreError("database /srv/data/floor33.db: no", kind=trouble).for_users
    assert said.endswith(".")
    assert "database" in said or "disk" in said
    assert "/" not in said
    assert "\n" not in said
    assert len(said) < 200
    assert len({one.for_users for one in ErrorKind}) == len(ErrorKind)


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        (sqlite3.SQLITE_FULL, ErrorKind.FULL),
        (sqlite3.SQLITE_IOERR | 3 << 8, ErrorKind.IO),  # SQLITE_IOERR_WRITE
        (sqlite3.SQLITE_READONLY, ErrorKind.DENIED),
        (sqlite3.SQLITE_READONLY | 6 << 8, ErrorKind.DENIED),  # SQLITE_READONLY_DIRECTORY
        (sqlite3.SQLITE_READONLY | 4 << 8, ErrorKind.GONE),  # SQLITE_READONLY_DBMOVED
        (sqlite3.SQLITE_CANTOPEN, ErrorKind.DENIED),
        (sqlite3.SQLITE_PERM, ErrorKind.DENIED),
        (sqlite3.SQLITE_BUSY | 2 << 8, ErrorKind.BUSY),  # SQLITE_BUSY_SNAPSHOT
        (sqlite3.SQLITE_PROTOCOL, ErrorKind.BUSY),
        (sqlite3.SQLITE_NOMEM, ErrorKind.BUSY),
        (sqlite3.SQLITE_CORRUPT | 1 << 8, ErrorKind.DAMAGED),
        (sqlite3.SQLITE_NOTADB, ErrorKind.DAMAGED),
        (sqlite3.SQLITE_CONSTRAINT | 8 << 8, ErrorKind.OTHER),
    ],
)
def test_the_kinds_of_sqlites_errors(code: int, trouble: ErrorKind) -> None:
    error = sqlite3.OperationalError("it failed")
    error.sqlite_errorcode = code
    found = translate_db_error(Path("floor33.db"), error)
    assert found.kind is trouble
    assert str(found).startswith("database floor33.db: ")


# ---------------------------------------------------------------- what is not said


@pytest.mark.parametrize("table", ["users", "jobs", "assets", "expansions"])
async def test_a_failed_write_tells_no_value_of_sqlites_rows(file_store: Store, table: str) -> None:
    with closing(sqlite3.connect(file_store.path)) as database:
        database.execute(
            f"CREATE TRIGGER refuse BEFORE INSERT ON {table} "
            "BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
        database.commit()
    job = changed(
        AN_ANIMATION,
        prompt=SECRETS[0],
        user_name=SECRETS[0],
        interaction_token=SECRETS[1],
        expanded_prompt=f"{SECRETS[0]}, in the evening",
        image_asset=replace(A_PICTURE, path=f"uploads/{SECRETS[0]}"),
    )
    with pytest.raises(StoreError, match="no room") as failed:
        await file_store.create_job(job)
    said = everything(failed.value)
    assert not [secret for secret in SECRETS if secret in said]


async def test_a_number_that_cannot_be_stored_tells_no_value(store: Store) -> None:
    job = await store.create_job(A_SECRET_JOB)
    with pytest.raises((StoreError, OverflowError)) as failed:
        async with store._database.write() as session:
            await session.execute(
                text("UPDATE jobs SET seed = :seed, prompt = :prompt WHERE id = :id"),
                {"seed": 2**70, "prompt": SECRETS[0], "id": job.id},
            )
    assert SECRETS[0] not in everything(failed.value)
    assert str(2**70) not in everything(failed.value)


@pytest.mark.parametrize(
    "rule",
    [
        "ALTER TABLE jobs ADD CONSTRAINT refuse CHECK (prompt NOT LIKE '%between%')",
        "CREATE UNIQUE INDEX refuse ON jobs (prompt)",
        "ALTER TABLE jobs ALTER COLUMN prompt TYPE VARCHAR(3)",
        "ALTER TABLE jobs ALTER COLUMN prompt TYPE INTEGER USING 1",
        "ALTER TABLE jobs ADD COLUMN more TEXT NOT NULL",
    ],
)
async def test_a_failed_write_tells_no_value_of_a_servers_rows(
    postgres: PostgresServer, rule: str
) -> None:
    address = postgres.new()
    name = address.partition("?")[0].rpartition("/")[2]
    async with await Store.open(address) as store:
        if "UNIQUE" in rule:
            await store.create_job(A_SECRET_JOB)
        postgres.execute(rule, database=name)
        with pytest.raises(StoreError) as failed:
            await store.create_job(A_SECRET_JOB)
    said = everything(failed.value)
    assert not [secret for secret in SECRETS if secret in said]
    assert failed.value.from_driver


async def test_failures_of_the_database_are_counted(database_path: Path) -> None:
    metrics = Metrics()
    async with await Store.open(database_path, observer=metrics) as store:
        with no_file_grows(), pytest.raises(StoreError):
            await store.create_job(A_JOB)
        with pytest.raises(StoreError):  # a wrong wish is no failure of the database
            await store.set_message("0" * 32, 1, 1)
    shown = metrics.exposition()[0].decode()
    assert 'floor33_database_errors_total{trouble="io"} 1.0' in shown
    assert shown.count("floor33_database_errors_total{") == 1


async def test_waiting_for_a_connection_passes(file_store: Store) -> None:
    pool = file_store._backend.reader.pool
    pool._timeout = 0.05  # type: ignore[attr-defined]
    held = [await file_store._backend.reader.connect() for _ in range(15)]
    try:
        with pytest.raises(StoreError, match="all connections are in use") as failed:
            await file_store.unfinished_jobs()
    finally:
        await asyncio.gather(*(connection.close() for connection in held))
    assert failed.value.kind is ErrorKind.BUSY
