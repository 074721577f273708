"""The file below the store: its pragmas, and what can go wrong with it."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from bot.store import JobRecord, JobState, Store, StoreError
from bot.store.maintenance.migrate import migrate
from tests.bot.store.examples import A_JOB, changed

NOBODY = 65534


def one_line(error: pytest.ExceptionInfo[StoreError]) -> str:
    text = str(error.value)
    assert text
    assert "\n" not in text
    return text


async def test_every_connection_has_its_pragmas(file_store: Store) -> None:
    async with file_store._database.read() as first, file_store._database.read() as second:
        for session in (first, second):
            connection = await session.connection()
            found = [
                (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
                for name in ("journal_mode", "foreign_keys", "busy_timeout")
            ]
            assert found == ["wal", 1, 10_000]


async def test_a_database_path_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as error:
        await Store.open(tmp_path)
    assert "folder" in one_line(error)


async def test_a_data_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError) as error:
        await Store.open(tmp_path / "file" / "floor33.db")
    assert str(tmp_path / "file") in one_line(error)


@pytest.fixture
def unprivileged(tmp_path: Path) -> Iterator[None]:
    """Root may write everywhere, so as root these tests run as somebody else."""
    if os.geteuid() != 0:
        tmp_path.chmod(0o555)
        yield
        tmp_path.chmod(0o755)
        return
    temporary = Path(tempfile.gettempdir())
    for folder in (tmp_path, *tmp_path.parents):
        if folder.is_relative_to(temporary) and folder != temporary:
            folder.chmod(0o755)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs POSIX users")
async def test_a_data_folder_that_is_not_writable(tmp_path: Path, unprivileged: None) -> None:
    for path in (tmp_path / "floor33.db", tmp_path / "new" / "floor33.db"):
        with pytest.raises(StoreError) as error:
            await Store.open(path)
        assert str(path.parent) in one_line(error)
        assert not path.exists()


def test_a_file_that_is_no_database_stays_as_it_was(database_path: Path) -> None:
    database_path.parent.mkdir()
    database_path.write_bytes(b"these are my holiday notes\n" * 100)
    with pytest.raises(StoreError, match="not an SQLite database") as error:
        migrate(database_path)
    assert str(database_path) in one_line(error)
    assert database_path.read_bytes() == b"these are my holiday notes\n" * 100


def test_somebody_elses_database_stays_as_it_was(database_path: Path) -> None:
    database_path.parent.mkdir()
    with closing(sqlite3.connect(database_path)) as connection:
        connection.execute("CREATE TABLE jobs (title TEXT)")
    before = database_path.read_bytes()
    with pytest.raises(StoreError, match="not made by Floor33"):
        migrate(database_path)
    assert database_path.read_bytes() == before


async def test_a_database_from_a_newer_version(database_path: Path) -> None:
    async with await Store.open(database_path) as store:
        await store.create_job(A_JOB)
    with closing(sqlite3.connect(database_path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match=r"newer version.*9999") as error:
        await Store.open(database_path)
    one_line(error)
    with closing(sqlite3.connect(database_path)) as connection:
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (1,)


@pytest.fixture
def little_space() -> Iterator[list[int]]:
    """SQLite's own limit on the pages of a file; reaching it is the same error as a full disk."""
    pages = [10_000]

    def limit(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA max_page_count = {pages[0]}")
        cursor.close()

    event.listen(Engine, "connect", limit)
    yield pages
    event.remove(Engine, "connect", limit)


async def test_a_full_disk_loses_nothing_that_was_acknowledged(
    database_path: Path, little_space: list[int]
) -> None:
    little_space[0] = 60
    kept: list[JobRecord] = []

    async def fill(store: Store) -> None:
        while len(kept) < 1000:
            kept.append(await store.create_job(changed(A_JOB, prompt="x" * 4000)))

    async with await Store.open(database_path) as store:
        with pytest.raises(StoreError, match="the disk is full") as error:
            await fill(store)
        one_line(error)
        assert kept
        assert await store.unfinished_jobs() == kept
    little_space[0] = 10_000
    async with await Store.open(database_path) as store:
        assert await store.unfinished_jobs() == kept
        await store.set_job_state(kept[0].id, JobState.CANCELLED)


async def test_a_disk_that_is_full_at_the_first_start(
    database_path: Path, little_space: list[int]
) -> None:
    little_space[0] = 5
    with pytest.raises(StoreError, match="the disk is full"):
        await Store.open(database_path)
    little_space[0] = 10_000
    async with await Store.open(database_path) as store:
        assert await store.unfinished_jobs() == []


async def test_a_locked_database_is_waited_for(file_store: Store) -> None:
    with closing(sqlite3.connect(file_store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(file_store.create_job(A_JOB))
        assert await file_store.unfinished_jobs() == []  # readers go on
        assert not waiting.done()
        other.execute("COMMIT")
        made = await waiting
    assert await file_store.get_job(made.id) == made


def test_the_store_needs_no_discord() -> None:
    code = (
        "import sys, bot\nassert not [m for m in sys.modules if m.startswith('bot.')]\n"
        "import bot.store\nassert not {'asyncpg', 'discord', 'simcord', 'torch'} & set(sys.modules)"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=root, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
