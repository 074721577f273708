"""Many at once, cut off, closed: what holds whatever keeps the database."""

import asyncio

import pytest

from bot.store import JobState, Store, StoreError
from tests.bot.store.databases import Location
from tests.bot.store.examples import A_JOB, changed, message_of, rendered


async def test_many_at_once_lose_nothing(store: Store) -> None:
    job, clip = await rendered(store)
    message = message_of(job)
    jobs = [
        store.create_job(changed(A_JOB, user_id=user, user_name=f"u{user}", seed=seed))
        for user in range(1, 9)
        for seed in range(8)
    ]
    votes = [
        store.rate(message, user, f"u{user}", value=value)
        for user in range(1, 33)
        for value in (1, -1)
    ]
    reads = [store.unfinished_jobs() for _ in range(20)]
    made, voted, _ = await asyncio.gather(
        asyncio.gather(*jobs), asyncio.gather(*votes), asyncio.gather(*reads)
    )
    assert len({one.id for one in made}) == 64
    stored = await store.unfinished_jobs()
    assert {(one.user_id, one.params.seed) for one in stored if one.id != job.id} == {
        (user, seed) for user in range(1, 9) for seed in range(8)
    }
    assert None not in voted
    ratings = await store.ratings(clip.id)
    assert sorted(rating.user_id for rating in ratings) == list(range(1, 33))


async def test_only_one_of_many_takes_a_job(store: Store) -> None:
    job = await store.create_job(A_JOB)
    takers = [store.set_job_state(job.id, JobState.RUNNING) for _ in range(10)]
    outcomes = await asyncio.gather(*takers, return_exceptions=True)
    assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 1
    assert all(isinstance(one, StoreError) for one in outcomes if isinstance(one, BaseException))


async def test_only_one_of_two_programs_takes_a_job(store: Store, location: Location) -> None:
    jobs = [await store.create_job(A_JOB) for _ in range(12)]
    async with await Store.open(location) as other:
        outcomes = await asyncio.gather(
            *(
                one.set_job_state(job.id, JobState.RUNNING)
                for job in jobs
                for one in (store, other)
            ),
            return_exceptions=True,
        )
    assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == len(jobs)
    assert all(isinstance(one, StoreError) for one in outcomes if isinstance(one, BaseException))
    assert {job.attempts for job in await store.unfinished_jobs()} == {1}


async def test_a_cancelled_call_is_all_or_nothing_and_frees_the_lock(store: Store) -> None:
    for turns in range(40):
        task = asyncio.create_task(store.create_job(changed(A_JOB, user_id=turns, user_name="x")))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    users = [job.user_id for job in await store.unfinished_jobs()]
    assert len(users) == len(set(users))
    for user in range(40):
        assert (await store.get_user(user) is not None) == (user in users)
    await store.create_job(A_JOB)


async def test_a_closed_store_says_so(store: Store) -> None:
    await store.close()
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await store.unfinished_jobs()
    with pytest.raises(StoreError, match="closed"):
        await store.create_job(A_JOB)


async def test_two_stores_on_one_database_do_not_fail_each_other(
    store: Store, location: Location
) -> None:
    async with await Store.open(location) as other:
        await asyncio.gather(*(one.create_job(A_JOB) for one in (store, other) for _ in range(15)))
        assert len(await store.unfinished_jobs()) == len(await other.unfinished_jobs()) == 30
