"""A database file that is taken away, replaced or lost: noticed, refused, and put back."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bot.lease import DataFolderLease
from bot.operations.health import store_check
from bot.store import (
    DatabaseGoneError,
    DatabaseThereError,
    ErrorKind,
    Store,
    StoreError,
    backup_database,
    make_empty_database,
    restore_database,
)
from bot.store.maintenance.migrate import migrate
from tests.bot.store.examples import A_JOB


def _removed(path: Path) -> None:
    path.unlink()


def _removed_with_its_log(path: Path) -> None:
    for file in path.parent.glob("floor33.db*"):
        file.unlink()


def _moved(path: Path) -> None:
    path.rename(path.with_suffix(".old"))


def _replaced_by_a_copy(path: Path) -> None:
    shutil.copy(path, path.with_suffix(".copy"))
    path.with_suffix(".copy").replace(path)


def _replaced_by_another(path: Path) -> None:
    path.unlink()
    path.touch()


def _folder_removed(path: Path) -> None:
    shutil.rmtree(path.parent)


def _folder_moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def _folder_replaced(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))
    shutil.copytree(path.parent.with_name("elsewhere"), path.parent)


def _log_removed(path: Path) -> None:
    path.with_name("floor33.db-wal").unlink()


ACCIDENTS = [
    _removed,
    _removed_with_its_log,
    _moved,
    _replaced_by_a_copy,
    _replaced_by_another,
    _folder_removed,
    _folder_moved,
    _folder_replaced,
]


@pytest.mark.parametrize("accident", ACCIDENTS)
async def test_nothing_is_written_to_a_file_that_nobody_finds(
    file_store: Store, accident: Callable[[Path], None]
) -> None:
    job = await file_store.create_job(A_JOB)
    await file_store.create_job(A_JOB)
    accident(file_store.path)
    with pytest.raises(DatabaseGoneError) as refused:
        await file_store.create_job(A_JOB)
    with pytest.raises(DatabaseGoneError):
        await file_store.get_job(job.id)
    with pytest.raises(DatabaseGoneError):
        file_store.check_present()
    assert "database" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.kind is ErrorKind.GONE
    assert not refused.value.kind.passes
    found = await store_check(file_store)()
    assert not found.ok
    assert "database" in found.detail


async def test_a_log_that_is_removed_takes_no_more_rows(file_store: Store) -> None:
    await file_store.create_job(A_JOB)
    _log_removed(file_store.path)
    with pytest.raises(DatabaseGoneError, match="write-ahead log"):
        await file_store.create_job(A_JOB)


async def test_a_database_that_stays_is_present(file_store: Store, tmp_path: Path) -> None:
    await file_store.create_job(A_JOB)
    await file_store.backup(tmp_path / "copy.db")
    os.utime(file_store.path)
    file_store.path.chmod(0o640)
    file_store.check_present()
    await file_store.create_job(A_JOB)
    assert not await file_store.rescue()


@pytest.mark.parametrize("accident", [_removed, _removed_with_its_log, _moved])
async def test_a_removed_file_is_put_back_with_all_that_was_written(
    file_store: Store, accident: Callable[[Path], None]
) -> None:
    jobs = [await file_store.create_job(A_JOB) for _ in range(3)]
    accident(file_store.path)
    assert await file_store.rescue()
    assert stat.S_IMODE(file_store.path.stat().st_mode) == 0o600
    async with await Store.open(file_store.path) as store:
        assert await store.unfinished_jobs() == jobs
    with pytest.raises(DatabaseGoneError):  # this one still has the old file
        await file_store.create_job(A_JOB)


@pytest.mark.parametrize("accident", [_replaced_by_a_copy, _folder_removed, _folder_moved])
async def test_nothing_is_put_over_a_file_or_into_a_new_folder(
    file_store: Store, accident: Callable[[Path], None]
) -> None:
    await file_store.create_job(A_JOB)
    accident(file_store.path)
    before = file_store.path.read_bytes() if file_store.path.exists() else None
    assert not await file_store.rescue()
    assert (file_store.path.read_bytes() if file_store.path.exists() else None) == before


@pytest.mark.parametrize("accident", [_folder_removed, _folder_moved, _folder_replaced])
async def test_a_folder_that_is_gone_is_not_held(
    file_store: Store, accident: Callable[[Path], None]
) -> None:
    lease = DataFolderLease(file_store.path.parent)
    await lease.acquire(file_store)
    assert lease.is_held()
    accident(file_store.path)
    with pytest.raises(DatabaseGoneError, match="its folder was"):
        lease.check_folder()
    assert not lease.is_held()


async def test_a_missing_note_in_a_folder_that_is_there_says_nothing(file_store: Store) -> None:
    lease = DataFolderLease(file_store.path.parent)
    await lease.acquire(file_store)
    (file_store.path.parent / "bot.id").unlink()
    lease.check_folder()
    assert lease.is_held()


# ------------------------------------------------------------------------ at the start


def _clip(folder: Path) -> None:
    (folder / "outputs" / "2026-01").mkdir(parents=True)
    (folder / "outputs" / "2026-01" / "clip.mp4").write_bytes(b"an MP4")


def _picture(folder: Path) -> None:
    (folder / "uploads").mkdir()
    (folder / "uploads" / ("ab" * 32)).write_bytes(b"a picture")


def _note(folder: Path) -> None:
    (folder / "bot.id").write_text("0" * 32)


def _empty_file(path: Path) -> None:
    path.touch()


def _without_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 1")
        database.execute("CREATE TABLE x (y)")
        database.execute("DROP TABLE x")


def _nothing(path: Path) -> None:
    """No file at all."""


@pytest.mark.parametrize("trace", [_clip, _picture, _note])
@pytest.mark.parametrize("spoil", [_nothing, _empty_file, _without_tables])
def test_a_lost_database_is_no_first_start(
    database_path: Path,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    trace: Callable[[Path], None],
) -> None:
    database_path.parent.mkdir()
    trace(database_path.parent)
    spoil(database_path)
    before = database_path.read_bytes() if database_path.exists() else None
    with pytest.raises(StoreError) as refused:
        migrate(database_path)
    line = str(refused.value)
    assert "\n" not in line
    assert f"database {database_path}" in line
    assert "bot restore BACKUP" in line
    assert "bot restore --empty" in line
    assert "FLOOR33_DATABASE_URL" in line
    assert (database_path.read_bytes() if database_path.exists() else None) == before


def test_a_first_start_is_one(database_path: Path) -> None:
    (database_path.parent / "outputs" / "2026-01").mkdir(parents=True)  # empty folders
    (database_path.parent / "models" / "x").mkdir(parents=True)
    (database_path.parent / "models" / "x" / "floor33.json").write_text("{}")
    database_path.touch()  # of a start that was cut off
    migrate(database_path)
    migrate(database_path)


async def test_a_lost_database_can_be_restored_or_begun_anew(
    database_path: Path, tmp_path: Path
) -> None:
    backup = tmp_path / "copy.db"
    async with await Store.open(database_path) as store:
        job = await store.create_job(A_JOB)
        await store.backup(backup)
    _clip(database_path.parent)
    _removed_with_its_log(database_path)
    _empty_file(database_path)
    restored = restore_database(backup, database_path)
    async with await Store.open(database_path) as store:
        assert [kept.id for kept in await store.unfinished_jobs()] == [job.id]
    assert restored.aside is None or restored.aside.stat().st_size == 0
    with pytest.raises(DatabaseThereError):
        make_empty_database(database_path)
    aside = make_empty_database(database_path, force=True)
    assert aside is not None
    async with await Store.open(database_path) as store:
        assert await store.unfinished_jobs() == []
    async with await Store.open(aside) as store:
        assert [kept.id for kept in await store.unfinished_jobs()] == [job.id]
    assert (database_path.parent / "outputs" / "2026-01" / "clip.mp4").exists()


def test_an_empty_database_takes_no_backups_place(database_path: Path, tmp_path: Path) -> None:
    database_path.parent.mkdir()
    database_path.touch()
    (tmp_path / "copy.db").write_text("yesterday's")
    with pytest.raises(StoreError, match="it is empty; no backup was made"):
        backup_database(database_path, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "yesterday's"
