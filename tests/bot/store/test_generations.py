"""Clips: recorded once, found again, deleted without losing what people thought of them."""

from dataclasses import asdict

import pytest

from bot.store import IllegalTransitionError, JobState, Store, UnknownGenerationError
from tests.bot.store.examples import A_JOB, OWNER, a_clip, changed, message_of, rendered


async def test_a_clip_is_found_by_its_id_its_job_and_its_message(store: Store) -> None:
    job, clip = await rendered(store)
    assert job.state is JobState.RENDERED
    got = asdict(clip)
    asked = asdict(a_clip(job.id))
    del asked["id"]  # every new clip has its own
    for name, value in asked.items():
        assert got[name] == value, name
    assert clip.deleted_at is None
    assert await store.get_generation(clip.id) == clip
    assert await store.generation_by_job(job.id) == clip
    shown = await store.job_by_message(message_of(job))
    assert shown is not None
    assert await store.generation_by_job(shown.id) == clip
    assert await store.get_generation("none") is None
    assert await store.generation_by_job("none") is None
    assert await store.job_by_message(1) is None


async def test_a_clip_is_recorded_once_and_only_for_a_running_job(store: Store) -> None:
    queued = await store.create_job(A_JOB)
    with pytest.raises(IllegalTransitionError):
        await store.add_generation(a_clip(queued.id))
    assert await store.generation_by_job(queued.id) is None
    job, clip = await rendered(store)
    with pytest.raises(IllegalTransitionError):
        await store.add_generation(a_clip(job.id))
    assert await store.generation_by_job(job.id) == clip


async def test_revisions_of_a_model_live_side_by_side(store: Store) -> None:
    _, old = await rendered(store)
    job = await store.create_job(A_JOB)
    await store.set_job_state(job.id, JobState.RUNNING)
    new = await store.add_generation(changed(a_clip(job.id), model_revision="ffff"))
    again = await store.get_generation(old.id)
    assert again is not None
    assert (again.model_revision, new.model_revision) == ("0123abcd", "ffff")
    _, third = await rendered(store)
    assert third.model_revision == "0123abcd"


async def test_a_re_roll_knows_its_parent(store: Store) -> None:
    _, clip = await rendered(store)
    child = await store.create_job(changed(A_JOB, parent_generation_id=clip.id))
    assert child.parent_generation_id == clip.id


async def test_deleting_keeps_the_row_its_ratings_and_the_first_time(store: Store) -> None:
    job, clip = await rendered(store)
    message = message_of(job)
    await store.rate(message, 5, "Eve", value=1)
    gone = await store.set_generation_deleted(clip.id)
    assert gone.deleted_at is not None
    assert gone.deleted_at >= clip.created_at
    assert await store.set_generation_deleted(clip.id) == gone
    shown = await store.job_by_message(message)
    assert shown is not None
    assert await store.generation_by_job(shown.id) == gone
    assert [rating.user_id for rating in await store.ratings(clip.id)] == [5]
    assert await store.rate(message, OWNER, "Ada", value=1) is None
    with pytest.raises(UnknownGenerationError):
        await store.set_generation_deleted("none")


@pytest.mark.parametrize(
    "change", [{"seed": -1}, {"seed": 2**63}, {"num_frames": 0}, {"width": 0}, {"fps": 0}]
)
def test_a_wrong_clip_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        changed(a_clip("x"), **change)
