"""Backups made while writes go on, and restored: whole, or not at all."""

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bot.store import (
    DatabaseThereError,
    JobState,
    Store,
    StoreError,
    backup_database,
    restore_database,
)
from tests.bot.store.examples import A_JOB, A_PICTURE, AN_ANIMATION, a_clip, changed, rendered

PICTURE = b"\x89PNG of a kite"
CLIP = b"an MP4"


def contents(path: Path) -> bytes:
    return path.read_bytes()


def damage(path: Path) -> None:
    path.write_bytes(b"no database at all " * 500)


async def with_files(store: Store) -> dict[str, str]:
    """A job in every state that goes on, with its files; their ids by state."""
    folder = store.path.parent
    for path, content in ((A_PICTURE.path, PICTURE), (a_clip("x").path, CLIP)):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_bytes(content)
    waiting = await store.create_job(AN_ANIMATION)
    running = await store.create_job(A_JOB)
    await store.set_job_state(running.id, JobState.RUNNING)
    done, _ = await rendered(store)
    return {"queued": waiting.id, "running": running.id, "rendered": done.id}


async def test_a_backup_is_one_complete_file(file_store: Store, tmp_path: Path) -> None:
    job, clip = await rendered(file_store)
    target = tmp_path / "copy.db"
    target.write_text("an older backup")
    await file_store.backup(target)
    later = await file_store.create_job(A_JOB)
    assert sorted(os.listdir(tmp_path)) == [target.name, file_store.path.parent.name]
    async with await Store.open(target) as copy:
        assert await copy.get_job(job.id) == job
        assert await copy.get_generation(clip.id) == clip
        assert await copy.get_job(later.id) is None


async def test_a_backup_holds_no_tokens(file_store: Store, tmp_path: Path) -> None:
    job = await file_store.create_job(changed(A_JOB, interaction_token="hunter2" * 9))
    await file_store.backup(tmp_path / "copy.db")
    assert b"hunter2" not in (tmp_path / "copy.db").read_bytes()
    kept = await file_store.get_job(job.id)
    assert kept is not None
    assert kept.interaction_token == "hunter2" * 9


def test_a_backup_that_fails_keeps_the_older_one(tmp_path: Path) -> None:
    target, source = tmp_path / "copy.db", tmp_path / "floor33.db"
    target.write_text("an older backup")
    with pytest.raises(StoreError, match="no database"):
        backup_database(source, target)
    source.write_text("nonsense " * 1000)
    with pytest.raises(StoreError, match="not an SQLite database"):
        backup_database(source, target)
    assert target.read_text() == "an older backup"
    with pytest.raises(StoreError, match="No such file"):
        backup_database(source, tmp_path / "nowhere" / "copy.db")


def test_a_database_is_no_backup_of_itself(tmp_path: Path) -> None:
    source = tmp_path / "floor33.db"
    source.write_bytes(b"")
    with pytest.raises(StoreError, match="the database itself"):
        backup_database(source, tmp_path / ".." / tmp_path.name / "floor33.db")
    with pytest.raises(StoreError, match="the database itself"):
        restore_database(source, source, force=True)


async def test_jobs_go_on_elsewhere_after_a_backup_amid_writes(
    file_store: Store, tmp_path: Path
) -> None:
    ids = await with_files(file_store)
    stop = asyncio.Event()

    async def write() -> int:
        made = 0
        while not stop.is_set():
            job = await file_store.create_job(changed(A_JOB, prompt="x" * 2000))
            await file_store.set_job_state(job.id, JobState.RUNNING)
            await file_store.set_job_state(job.id, JobState.FAILED, "for the test")
            made += 1
        return made

    writing = asyncio.create_task(write())
    backup = tmp_path / "copy.db"
    copied = await asyncio.to_thread(backup_database, file_store.path, backup)
    stop.set()
    assert await writing > 0
    assert (copied.files, copied.missing) == (2, ())

    elsewhere = tmp_path / "elsewhere" / "floor33.db"
    restored = restore_database(backup, elsewhere)
    assert (restored.files, restored.aside) == (2, None)
    assert (elsewhere.parent / A_PICTURE.path).read_bytes() == PICTURE
    assert (elsewhere.parent / a_clip("x").path).read_bytes() == CLIP
    async with await Store.open(elsewhere) as store:
        assert await store.requeue_running() >= 1
        states = {job.id: job.state for job in await store.unfinished_jobs()}
        assert [states[ids[key]] for key in ids] == ["queued", "queued", "rendered"]
        await store.set_job_state(ids["rendered"], JobState.DELIVERED)
    with closing(sqlite3.connect(elsewhere)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    assert "backup_files" not in tables


async def test_a_file_that_is_gone_is_told_and_stops_nothing(
    file_store: Store, tmp_path: Path
) -> None:
    await with_files(file_store)
    (file_store.path.parent / A_PICTURE.path).unlink()
    copied = backup_database(file_store.path, tmp_path / "copy.db")
    assert (copied.files, copied.missing) == (1, (A_PICTURE.path,))


async def test_a_database_that_is_there_is_replaced_only_on_demand(
    database_path: Path, tmp_path: Path
) -> None:
    async with await Store.open(database_path) as store:
        kept = await store.create_job(A_JOB)
        await store.backup(tmp_path / "copy.db")
        later = await store.create_job(A_JOB)
    before = contents(database_path)
    with pytest.raises(DatabaseThereError, match="--force"):
        restore_database(tmp_path / "copy.db", database_path)
    assert contents(database_path) == before
    restored = restore_database(tmp_path / "copy.db", database_path, force=True)
    async with await Store.open(database_path) as store:
        assert [job.id for job in await store.unfinished_jobs()] == [kept.id]
    assert restored.aside is not None
    async with await Store.open(restored.aside) as store:
        assert [job.id for job in await store.unfinished_jobs()] == [kept.id, later.id]


async def test_nothing_is_restored_under_a_bot(file_store: Store, tmp_path: Path) -> None:
    job = await file_store.create_job(A_JOB)
    await file_store.backup(tmp_path / "copy.db")
    with pytest.raises(StoreError, match="a bot works on it"):
        restore_database(tmp_path / "copy.db", file_store.path, force=True)
    await file_store.set_job_state(job.id, JobState.CANCELLED)
    assert sorted(path.name for path in file_store.path.parent.iterdir()) == [
        "floor33.db",
        "floor33.db-shm",
        "floor33.db-wal",
    ]


async def test_a_damaged_database_is_put_aside_with_its_log(
    database_path: Path, tmp_path: Path
) -> None:
    async with await Store.open(database_path) as store:
        await store.create_job(A_JOB)
        await store.backup(tmp_path / "copy.db")
    damage(database_path)
    log = database_path.with_name("floor33.db-wal")
    log.write_bytes(b"of the damaged one")
    restored = restore_database(tmp_path / "copy.db", database_path, force=True)
    assert restored.aside is not None
    assert restored.aside.read_bytes().startswith(b"no database at all")
    assert not log.exists()
    async with await Store.open(database_path) as store:
        assert len(await store.unfinished_jobs()) == 1


def _other_program(backup: Path) -> None:
    backup.unlink()
    with closing(sqlite3.connect(backup)) as database:
        database.execute("CREATE TABLE jobs (title TEXT)")


def _newer(backup: Path) -> None:
    with closing(sqlite3.connect(backup)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")


def _dangling(backup: Path) -> None:
    with closing(sqlite3.connect(backup)) as database, database:
        database.execute("UPDATE jobs SET user_id = 404")


def _cut_short(backup: Path) -> None:
    backup.write_bytes(backup.read_bytes()[: 3 * 4096])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (Path.unlink, "no backup"),
        (lambda backup: backup.write_bytes(b""), "empty"),
        (lambda backup: backup.write_text("notes " * 900), "not an SQLite database"),
        (_cut_short, "damaged"),
        (_other_program, "not made by Floor33"),
        (_newer, "newer version"),
        (_dangling, "refers to a missing row"),
    ],
)
async def test_what_is_no_backup_changes_nothing(
    database_path: Path,
    tmp_path: Path,
    spoil: object,
    words: str,
) -> None:
    backup = tmp_path / "copy.db"
    async with await Store.open(database_path) as store:
        await store.create_job(A_JOB)
        await store.backup(backup)
    assert callable(spoil)
    spoil(backup)
    before = contents(database_path)
    with pytest.raises(StoreError, match=words) as error:
        restore_database(backup, database_path, force=True)
    assert "\n" not in str(error.value)
    assert contents(database_path) == before
    assert [path.name for path in database_path.parent.iterdir()] == ["floor33.db"]


async def test_a_backup_never_writes_outside_the_data_folder(
    database_path: Path, tmp_path: Path
) -> None:
    backup = tmp_path / "copy.db"
    async with await Store.open(database_path) as store:
        await store.backup(backup)
    with closing(sqlite3.connect(backup)) as database, database:
        for path in ("../evil", "/tmp/evil", "a/../../evil"):
            database.execute("INSERT INTO backup_files VALUES (?, ?)", (path, b"evil"))
    assert restore_database(backup, tmp_path / "new" / "floor33.db").files == 0
    assert not (tmp_path / "evil").exists()
