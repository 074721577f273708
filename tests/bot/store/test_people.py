"""Blocks, how often somebody asks, and the removal and disclosure of what people gave."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from bot.store import JobState, Store, StoredFiles, StoreError, UnknownGenerationError
from bot.store.paths import OutsideError
from tests.bot.store.examples import (
    A_JOB,
    A_PICTURE,
    AN_ANIMATION,
    OWNER,
    a_clip,
    changed,
    message_of,
    rendered,
)

OTHER = 2002


async def test_blocks(store: Store) -> None:
    assert not await store.is_blocked(OTHER)
    assert await store.block(OTHER)
    assert not await store.block(OTHER)
    assert await store.is_blocked(OTHER)
    assert await store.blocked_users() == [OTHER]
    assert await store.unblock(OTHER)
    assert not await store.unblock(OTHER)
    assert await store.blocked_users() == []


async def test_the_nth_last_job_is_counted_whatever_became_of_it(store: Store) -> None:
    made = [await store.create_job(A_JOB) for _ in range(3)]
    await store.set_job_state(made[1].id, JobState.CANCELLED)
    assert [await store.nth_last_job(OWNER, n) for n in (1, 2, 3, 4)] == [
        *(job.created_at for job in reversed(made)),
        None,
    ]
    assert await store.nth_last_job(OTHER, 1) is None


async def test_servers_of_a_person_the_latest_first(store: Store) -> None:
    for guild in (5, 6, None, 5, 7):
        await store.create_job(changed(A_JOB, guild_id=guild))
    assert await store.servers_of(OWNER, 9) == [7, 5, 6]
    assert await store.servers_of(OWNER, 1) == [7]
    assert await store.jobs_of_server(5) == {JobState.QUEUED: 2}


async def test_blocked_people_do_not_rate(store: Store) -> None:
    job, clip = await rendered(store)
    await store.block(OTHER)
    assert await store.rate(message_of(job), OTHER, "Eve", value=1) is None
    assert await store.ratings(clip.id) == []


async def test_removing_a_clip_blanks_its_words(store: Store) -> None:
    job, clip = await rendered(store, changed(A_JOB, expanded_prompt="more", negative_prompt="no"))
    await store.rate(message_of(job), OTHER, "Eve", value=1)
    gone, old = await store.remove_clip(clip.id), await store.get_job(job.id)
    assert old is not None
    assert old.expansion is not None
    assert gone.removed
    assert (gone.params.prompt, gone.expanded_prompt, gone.params.negative_prompt) == (
        "",
        None,
        None,
    )
    assert (old.params.prompt, old.params.negative_prompt) == ("", None)
    assert (old.expansion.original, old.expansion.expanded) == ("", "")
    assert len(await store.ratings(clip.id)) == 1
    assert await store.remove_clip(clip.id) == gone
    assert await store.get_generation(clip.id) == gone
    with pytest.raises(UnknownGenerationError):
        await store.remove_clip("none")


async def test_the_words_of_a_job_without_a_clip(store: Store) -> None:
    job = await store.create_job(changed(A_JOB, expanded_prompt="more"))
    await store.remove_words(job.id)
    assert await store.get_job(job.id) == job  # it is not over
    await store.set_job_state(job.id, JobState.CANCELLED)
    await store.remove_words(job.id)
    blank = await store.get_job(job.id)
    assert blank is not None
    assert blank.expansion is not None
    assert (blank.params.prompt, blank.expansion.expanded) == ("", "")


async def filled(store: Store) -> None:
    """Two people: clips, a re-roll of each other's, pictures, ratings."""
    job, clip = await rendered(store, changed(AN_ANIMATION, prompt="owner's words"))
    await store.set_job_state(job.id, JobState.DELIVERED)
    await store.rate(message_of(job), OTHER, "Eve", value=1)
    theirs = changed(
        AN_ANIMATION,
        user_id=OTHER,
        user_name="Eve",
        prompt="owner's words",
        parent_generation_id=clip.id,
    )
    await rendered(store, theirs)
    waiting = await store.create_job(replace(theirs, expanded_prompt="owner's words, more"))
    assert waiting.parent_generation_id == clip.id
    own, own_clip = await rendered(
        store, changed(A_JOB, user_id=OTHER, user_name="Eve", prompt="eve's words")
    )
    await store.rate(message_of(own), OWNER, "Ada", value=-1)
    reroll, reroll_clip = await rendered(
        store, changed(A_JOB, prompt="eve's words", parent_generation_id=own_clip.id)
    )
    await rendered(
        store,
        changed(
            A_JOB,
            user_id=OTHER,
            user_name="Eve",
            prompt="eve's words",
            parent_generation_id=reroll_clip.id,
        ),
    )
    assert reroll.id


async def test_a_person_is_forgotten_with_the_rerolls_of_their_words(store: Store) -> None:
    await filled(store)
    await store.block(OWNER)
    removed: list[StoredFiles] = []
    forgotten = await store.forget_person(OWNER, removed.append)
    assert forgotten.known
    assert (forgotten.jobs, forgotten.rerolls, forgotten.ratings) == (2, 2, 1)
    assert removed == [forgotten.files]
    assert forgotten.files.pictures == (A_PICTURE.path,)
    assert len(forgotten.files.clips) == 3
    assert await store.get_user(OWNER) is None
    assert await store.past_jobs(OWNER, 9) == []
    theirs = await store.past_jobs(OTHER, 9)
    assert [past.job.params.prompt for past in theirs] == ["eve's words"] * 2
    assert all(past.generation is not None for past in theirs)
    assert await store.is_blocked(OWNER)
    kept = await store.export_person(OWNER)
    assert {key: value for key, value in kept.items() if value} == {
        "user_id": OWNER,
        "blocked": True,
    }
    again = await store.forget_person(OWNER, removed.append)
    assert not again.known
    assert again.files == StoredFiles()


async def test_a_picture_that_others_sent_too_is_kept(store: Store) -> None:
    await rendered(store, AN_ANIMATION)
    await rendered(store, changed(AN_ANIMATION, user_id=OTHER, user_name="Eve"))
    forgotten = await store.forget_person(OWNER, lambda files: None)
    assert forgotten.files.pictures == ()
    (past,) = await store.past_jobs(OTHER, 9)
    assert past.job.image_asset is not None


async def test_nothing_is_forgotten_when_its_files_cannot_be_removed(store: Store) -> None:
    await filled(store)
    before = await store.export_person(OWNER)

    def refuse(_files: StoredFiles) -> None:
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        await store.forget_person(OWNER, refuse)
    assert await store.export_person(OWNER) == before


async def test_an_export_holds_everything_but_keys(store: Store) -> None:
    await filled(store)
    await store.create_job(changed(A_JOB, interaction_token="let-me-in"))
    kept = await store.export_person(OWNER)
    text = json.dumps(kept)
    assert "let-me-in" not in text
    assert [user["name"] for user in kept["users"]] == ["Ada"]
    assert {job["prompt"] for job in kept["jobs"]} == {
        "owner's words",
        "eve's words",
        "a red kite",
    }
    assert len(kept["clips"]) == 2
    assert [picture["path"] for picture in kept["pictures"]] == [A_PICTURE.path]
    assert [rating["value"] for rating in kept["ratings_given"]] == [-1]
    assert "Eve" not in text


async def test_what_was_forgotten_is_in_no_byte_of_the_database(
    file_store: Store, database_path: Path
) -> None:
    words = "a very particular sentence"
    job = await file_store.create_job(changed(A_JOB, user_name="Ada-Lovelace-1815", prompt=words))
    await file_store.set_job_state(job.id, JobState.RUNNING)
    await file_store.add_generation(changed(a_clip(job.id), prompt=words))
    await file_store.forget_person(OWNER, lambda files: None)
    assert await file_store.truncate_log()
    files = [file.read_bytes() for file in database_path.parent.iterdir()]
    assert not [file for file in files if words.encode() in file or b"Ada-Lovelace" in file]
    with closing(sqlite3.connect(database_path)) as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
        assert database.execute("pragma foreign_key_check").fetchall() == []


async def test_a_path_that_leads_elsewhere_stops_forgetting_in_words(store: Store) -> None:
    job, _ = await rendered(store)

    def refuse(files: StoredFiles) -> None:
        raise OutsideError(files.clips[0])

    with pytest.raises(StoreError, match="no file of this bot's"):
        await store.forget_person(OWNER, refuse)
    assert await store.get_job(job.id) is not None
