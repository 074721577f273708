"""Jobs: what is stored comes back, states follow each other legally, a restart loses nothing."""

import asyncio
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.store import IllegalTransitionError, JobState, Store, StoreError, UnknownJobError
from tests.bot.store.databases import Databases, Location
from tests.bot.store.examples import (
    A_JOB,
    A_PICTURE,
    AN_ANIMATION,
    CHANNEL,
    OWNER,
    a_clip,
    changed,
    rendered,
)

STEPS = {
    "queued": {"running", "failed", "cancelled"},
    "running": {"queued", "rendered", "failed", "cancelled"},
    "rendered": {"delivered", "failed", "cancelled"},
    "delivered": set(),
    "failed": set(),
    "cancelled": set(),
}


async def test_a_job_comes_back_as_it_was_asked_for(store: Store) -> None:
    asked = changed(
        A_JOB,
        negative_prompt="blurry",
        seed=2**63 - 1,
        fps=12,
        steps=30,
        guidance=7.25,
        width=64,
        height=32,
        num_frames=17,
        expand=True,
    )
    before = datetime.now(UTC)
    made = await store.create_job(asked)
    stored = await store.get_job(made.id)
    assert stored == made
    got = asdict(made)
    for name, value in asdict(asked).items():
        if name not in ("user_name", "expanded_prompt"):  # kept in rows of their own
            assert got[name] == value, name
    assert (made.state, made.attempts, made.error) == (JobState.QUEUED, 0, None)
    assert made.created_at.tzinfo is UTC
    assert before <= made.created_at <= datetime.now(UTC)
    user = await store.get_user(OWNER)
    assert user is not None
    assert (user.name, user.training_consent) == ("Ada", False)


async def test_a_clock_that_is_put_back_keeps_the_order(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=1)
    with monkeypatch.context() as patch:
        patch.setattr("bot.store.jobs.utc_now", lambda: ahead)
        first = await store.create_job(A_JOB)
    others = [await store.create_job(A_JOB) for _ in range(3)]
    assert await store.unfinished_jobs() == [first, *others]


async def test_a_picture_is_stored_once_for_all_jobs_that_use_it(store: Store) -> None:
    first = await store.create_job(AN_ANIMATION)
    assert first.image_asset is not None
    assert first.image_asset.as_new() == A_PICTURE
    again = await store.create_job(changed(AN_ANIMATION, image_asset=first.image_asset.as_new()))
    assert again.image_asset == first.image_asset
    other = replace(A_PICTURE, sha256="cd" * 32)
    with pytest.raises(StoreError, match="other contents"):
        await store.create_job(changed(AN_ANIMATION, image_asset=other))


async def test_a_job_that_cannot_be_stored_leaves_nothing_behind(store: Store) -> None:
    with pytest.raises(StoreError, match=r"(?i)foreign key"):
        await store.create_job(changed(AN_ANIMATION, parent_generation_id="nonsense"))
    assert await store.unfinished_jobs() == []
    assert await store.get_user(OWNER) is None


@pytest.mark.parametrize("prompt", ["", "'; DROP TABLE jobs; --", "$1 %s :id", "🪁\u202e kite"])
async def test_any_text_comes_back_as_it_was(store: Store, prompt: str) -> None:
    made = await store.create_job(changed(A_JOB, prompt=prompt))
    stored = await store.get_job(made.id)
    assert stored is not None
    assert stored.params.prompt == prompt


async def test_a_nul_is_kept_or_refused_in_words(store: Store) -> None:
    asked = changed(A_JOB, prompt="nul \0 inside")
    if store.name.startswith("postgresql:"):
        with pytest.raises(StoreError, match="text cannot be stored"):
            await store.create_job(asked)
        assert await store.unfinished_jobs() == []
        return
    made = await store.create_job(asked)
    assert await store.get_job(made.id) == made
    assert made.params.prompt == asked.params.prompt


async def test_half_a_character_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="text cannot be stored"):
        await store.create_job(changed(A_JOB, prompt="half \ud83e"))
    assert await store.unfinished_jobs() == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"user_id": -5}, "user_id"),
        ({"kind": "dance"}, "kind"),
        ({"kind": "animate"}, "picture"),
        ({"image_asset": A_PICTURE}, "picture"),
        ({"upload_limit": 0}, "upload_limit"),
        ({"steps": 0}, "steps"),
        ({"guidance": float("nan")}, "guidance"),
    ],
)
def test_a_wrong_job_is_refused_before_it_reaches_the_database(
    change: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        changed(A_JOB, **change)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.png", "a/../../x", "", "C:/x.png", "a\\b"])
def test_a_picture_outside_the_data_folder_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="data folder"):
        replace(A_PICTURE, path=path)


async def test_the_name_of_a_user_follows_and_consent_stays(store: Store) -> None:
    await store.create_job(A_JOB)
    await store.set_training_consent(OWNER, "Ada", consent=True)
    await store.create_job(changed(A_JOB, user_name="Ada L."))
    user = await store.get_user(OWNER)
    assert user is not None
    assert (user.name, user.training_consent) == ("Ada L.", True)


async def test_messages_belong_to_one_job(store: Store) -> None:
    first, second = await store.create_job(A_JOB), await store.create_job(A_JOB)
    moved = await store.set_message(first.id, 88, 4242)
    assert (moved.channel_id, moved.message_id) == (88, 4242)
    assert await store.set_message(first.id, 88, 4242) == moved
    assert await store.job_by_message(4242) == moved
    assert await store.job_by_message(1) is None
    with pytest.raises(StoreError, match=first.id):
        await store.set_message(second.id, CHANNEL, 4242)
    with pytest.raises(UnknownJobError):
        await store.set_message("nobody", CHANNEL, 1)


async def test_unfinished_jobs_come_oldest_first_and_can_be_one_users(store: Store) -> None:
    queued = await store.create_job(A_JOB)
    other = await store.create_job(changed(A_JOB, user_id=2, user_name="Bo"))
    cancelled = await store.create_job(A_JOB)
    await store.set_job_state(cancelled.id, JobState.CANCELLED, "asked for")
    waiting, _ = await rendered(store)
    assert [job.id for job in await store.unfinished_jobs()] == [queued.id, other.id, waiting.id]
    assert [job.id for job in await store.unfinished_jobs(user_id=2)] == [other.id]


async def test_a_restart_puts_running_jobs_back_and_keeps_the_rest(location: Location) -> None:
    async with await Store.open(location) as store:
        queued = await store.create_job(A_JOB)
        running = await store.create_job(A_JOB)
        await store.set_job_state(running.id, JobState.RUNNING)
        await store.add_expansion(running.id, "a red kite", "a red kite, dusk", "offline", "en")
        done, clip = await rendered(store)
    async with await Store.open(location) as store:
        assert await store.requeue_running() == 1
        assert await store.requeue_running() == 0
        jobs = {job.id: job for job in await store.unfinished_jobs()}
        assert {key: job.state for key, job in jobs.items()} == {
            queued.id: JobState.QUEUED,
            running.id: JobState.QUEUED,
            done.id: JobState.RENDERED,
        }
        # The second run must use the same words as the first.
        expansion = jobs[running.id].expansion
        assert expansion is not None
        assert (expansion.original, expansion.expanded) == ("a red kite", "a red kite, dusk")
        assert (expansion.backend, expansion.language) == ("offline", "en")
        assert await store.generation_by_job(done.id) == clip
        again = await store.set_job_state(running.id, JobState.RUNNING)
        assert again.attempts == 2


async def test_an_expansion_is_replaced_until_the_clip_exists(store: Store) -> None:
    job = await store.create_job(A_JOB)
    await store.add_expansion(job.id, "kite", "first", "offline", "en")
    second = await store.add_expansion(job.id, "kite", "second", "openai", "de")
    stored = await store.get_job(job.id)
    assert stored is not None
    assert stored.expansion == second
    assert second.expanded == "second"
    finished, _ = await rendered(store)
    with pytest.raises(StoreError, match="settled"):
        await store.add_expansion(finished.id, "kite", "late", "offline", "en")
    with pytest.raises(UnknownJobError):
        await store.add_expansion("nobody", "kite", "kite", "offline", "en")


async def test_rendered_needs_a_clip(store: Store) -> None:
    job = await store.create_job(A_JOB)
    await store.set_job_state(job.id, JobState.RUNNING)
    with pytest.raises(IllegalTransitionError, match="without its clip"):
        await store.set_job_state(job.id, JobState.RENDERED)


async def test_the_times_and_the_error_of_a_job(store: Store) -> None:
    job = await store.create_job(A_JOB)
    started = await store.set_job_state(job.id, JobState.RUNNING)
    assert started.started_at is not None
    assert started.started_at >= job.created_at
    assert started.finished_at is None
    failed = await store.set_job_state(job.id, JobState.FAILED, "out of memory")
    assert failed.error == "out of memory"
    assert failed.finished_at is not None
    assert failed.finished_at >= started.started_at
    assert await store.get_job(job.id) == failed
    assert await store.get_job("nobody") is None
    with pytest.raises(UnknownJobError, match="nobody"):
        await store.set_job_state("nobody", JobState.RUNNING)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(list(JobState)), max_size=8))
def test_states_follow_the_plan_and_a_refused_step_changes_nothing(
    databases: Databases, wanted: list[JobState]
) -> None:
    async def walk() -> None:
        async with await Store.open(databases.new()) as store:
            current = await store.create_job(A_JOB)
            for state in wanted:
                try:
                    if state is JobState.RENDERED:
                        await store.add_generation(a_clip(current.id))
                    else:
                        await store.set_job_state(current.id, state)
                except IllegalTransitionError:
                    assert state not in STEPS[current.state]
                    assert await store.get_job(current.id) == current
                else:
                    assert state in STEPS[current.state]
                    moved = await store.get_job(current.id)
                    assert moved is not None
                    assert moved.state is state
                    current = moved
                has_clip = await store.generation_by_job(current.id) is not None
                assert has_clip or current.state not in ("rendered", "delivered")
                unfinished = [job.id for job in await store.unfinished_jobs()]
                assert unfinished == ([current.id] if STEPS[current.state] else [])

    asyncio.run(walk())
