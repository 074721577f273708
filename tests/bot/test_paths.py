"""Paths that a database states: used only as far as they lead to files of the bot."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bot.store import JobState, Store, backup_database, restore_database
from bot.store.clip_files import remove_stored_clip
from bot.store.paths import OutsideError, inside, is_inside, resolve
from tests.bot.conftest import World, picture
from tests.bot.store.examples import A_JOB, AN_ANIMATION, rendered
from tests.bot.test_job_commands import told

HOSTILE = [
    "/etc/passwd",
    "../precious.mp4",
    "outputs/../../precious.mp4",
    "outputs/2026-01/../../../precious.mp4",
    "",
    ".",
    "..",
    "outputs",
    "outputs/",
    "floor33.db",
    "bot.id",
    "models/demo/unet.safetensors",
    "outputs\\..\\..\\precious.mp4",
    "C:\\precious.mp4",
    "outputs/a\0b.mp4",
]


@pytest.mark.parametrize("stored", HOSTILE)
def test_a_path_that_leads_elsewhere_is_refused(tmp_path: Path, stored: str) -> None:
    with pytest.raises(OutsideError, match="no file of this bot's"):
        resolve(tmp_path / "data", stored)
    assert not is_inside(stored)


@pytest.mark.parametrize("stored", ["outputs/2026-01/a.mp4", "uploads/ab", "outputs/..a/b..mp4"])
def test_a_path_of_ours_is_found_whether_the_file_is_there_or_not(
    tmp_path: Path, stored: str
) -> None:
    assert resolve(tmp_path, stored) == tmp_path / stored
    assert is_inside(stored)
    assert inside(tmp_path, tmp_path / stored) == stored


def test_a_folder_on_another_disk(tmp_path: Path) -> None:
    data, disk = tmp_path / "data", tmp_path / "disk"
    (disk / "2026-01").mkdir(parents=True)
    data.mkdir()
    (data / "outputs").symlink_to(disk)
    clip = data / "outputs" / "2026-01" / "a.mp4"
    assert inside(data, clip) == "outputs/2026-01/a.mp4"
    assert resolve(data, "outputs/2026-01/a.mp4") == clip
    # As older versions stored it.
    assert resolve(data, str(disk / "2026-01" / "a.mp4")) == disk / "2026-01" / "a.mp4"
    with pytest.raises(OutsideError):
        resolve(data, str(disk.parent / "a.mp4"))


def test_a_data_folder_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk" / "outputs").mkdir(parents=True)
    data = tmp_path / "data"
    data.symlink_to(tmp_path / "disk")
    assert inside(data, data / "outputs" / "a.mp4") == "outputs/a.mp4"
    assert inside(data, tmp_path / "disk" / "outputs" / "a.mp4") == "outputs/a.mp4"
    assert resolve(data, "outputs/a.mp4") == data / "outputs" / "a.mp4"


@pytest.mark.parametrize("stored", ["outputs/link/a.mp4", "outputs/a.mp4", "other/a.mp4"])
def test_no_other_link_leads_out(tmp_path: Path, stored: str) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.mp4").write_bytes(b"precious")
    (data / "outputs").mkdir(parents=True)
    (data / "outputs" / "link").symlink_to(elsewhere)
    (data / "outputs" / "a.mp4").symlink_to(elsewhere / "a.mp4")
    (data / "other").symlink_to(elsewhere)
    with pytest.raises(OutsideError):
        resolve(data, stored)
    remove_stored_clip(data, stored)
    assert (elsewhere / "a.mp4").exists()


def test_a_circle_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "a").symlink_to(tmp_path / "outputs" / "b")
    (tmp_path / "outputs" / "b").symlink_to(tmp_path / "outputs" / "a")
    with pytest.raises(OutsideError):
        resolve(tmp_path, "outputs/a/c.mp4")


# ------------------------------------------------------------------- what users can do


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    file = tmp_path / "precious.mp4"
    file.write_bytes(b"not a clip of the bot")
    file.with_suffix(".json").write_text("{}")
    return file


@pytest.mark.parametrize("relative", [False, True])
async def test_delete_touches_no_file_outside_the_data_folder(
    world: World, precious: Path, relative: bool
) -> None:
    message = await world.imagine("a cat")
    stored = f"outputs/../../{precious.name}" if relative else str(precious)
    world.execute("update generations set path = ?", stored)
    await world.alice.click(message, label="Delete")
    await world.env.settle()
    assert sorted(os.listdir(precious.parent)) == ["data", "precious.json", "precious.mp4"]
    assert world.query("select deleted_at from generations")[0]["deleted_at"] is not None


async def test_history_sends_no_file_outside_the_data_folder(world: World, precious: Path) -> None:
    await world.imagine("a cat")
    world.execute("update generations set path = ?", str(precious))
    world.execute("update jobs set state = 'rendered', reason = 'undelivered'")
    shown = await world.alice.slash(world.channel, "history")
    assert shown.response is not None
    sent = await world.alice.click(shown.response, label="Send 1")
    assert "no longer on this machine" in told(sent)
    assert not [message for message in sent.followups if message.attachments]


async def test_a_reroll_reads_no_picture_outside_the_data_folder(
    world: World, tmp_path: Path
) -> None:
    other = tmp_path / "private.png"
    other.write_bytes(picture())
    result = await world.alice.slash(world.channel, "animate", image=("a.png", picture()))
    message = await world.clip(result.response.id)
    world.execute("update assets set path = ?", str(other))
    answer = await world.alice.click(message, label="Re-roll")
    await world.env.settle()
    assert len(world.query("select id from jobs")) == 1
    assert "no longer on this machine" in told(answer)


# ----------------------------------------------------------------- foreign backups


@pytest.mark.parametrize("stored", ["/etc/passwd", "../../x", "floor33.db", "models/x/y"])
async def test_rows_of_a_foreign_backup_are_cut_off_from_files_elsewhere(
    tmp_path: Path, stored: str
) -> None:
    source, backup = tmp_path / "theirs" / "floor33.db", tmp_path / "copy.db"
    async with await Store.open(source) as store:
        job, clip = await rendered(store)
        animation = await store.create_job(AN_ANIMATION)
        kept, _ = await rendered(store, A_JOB)
    backup_database(source, backup)
    with closing(sqlite3.connect(backup)) as database:
        database.execute("UPDATE generations SET path = ? WHERE id = ?", (stored, clip.id))
        database.execute("UPDATE assets SET path = ?", (stored,))
        database.execute("INSERT INTO backup_files VALUES (?, ?)", (stored, b"evil"))
        database.commit()
    ours = tmp_path / "ours" / "floor33.db"
    restored = restore_database(backup, ours)
    assert restored.refused == 2
    assert [path.name for path in ours.parent.iterdir()] == ["floor33.db"]
    async with await Store.open(ours) as store:
        found = await store.get_generation(clip.id)
        assert found is not None
        assert found.deleted_at is not None
        assert is_inside(found.path)
        waiting = await store.get_job(animation.id)
        assert waiting is not None
        assert waiting.image_asset is not None
        assert is_inside(waiting.image_asset.path)
        other = await store.generation_by_job(kept.id)
        assert other is not None
        assert (other.path, other.deleted_at) == ("outputs/2026-01/clip.mp4", None)
        await store.set_job_state(job.id, JobState.DELIVERED)


async def test_a_backup_takes_no_file_from_elsewhere(tmp_path: Path, precious: Path) -> None:
    source, backup = tmp_path / "data" / "floor33.db", tmp_path / "copy.db"
    async with await Store.open(source) as store:
        await rendered(store)
    with closing(sqlite3.connect(source)) as database:
        database.execute("UPDATE generations SET path = ?", (str(precious),))
        database.commit()
    copied = backup_database(source, backup)
    assert (copied.files, copied.missing) == (0, (str(precious),))
    assert b"not a clip of the bot" not in backup.read_bytes()
