"""Ratings: one per user, clip and aspect, whatever order reactions come in."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.store import Store
from tests.bot.store.databases import Databases
from tests.bot.store.examples import OWNER, message_of, rendered

USERS = st.sampled_from([OWNER, 2, 3])
VALUES = st.sampled_from([1, -1])
ASPECTS = st.sampled_from(["overall", "motion"])
CLIPS = st.integers(0, 1)
ACTIONS = st.one_of(
    st.tuples(st.just("add"), CLIPS, USERS, ASPECTS, VALUES),
    st.tuples(st.just("remove"), CLIPS, USERS, ASPECTS, st.none() | VALUES),
    st.tuples(st.just("clear"), CLIPS, st.none(), ASPECTS, st.none() | VALUES),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(ACTIONS, max_size=25))
def test_any_sequence_of_reactions_leaves_what_a_dictionary_would(
    databases: Databases,
    actions: list[tuple[str, int, int | None, str, int | None]],
) -> None:
    async def play() -> None:
        async with await Store.open(databases.new()) as store:
            made = [await rendered(store) for _ in range(2)]
            messages = [message_of(job) for job, _ in made]
            model: dict[tuple[int, int, str], int] = {}
            for action, clip, user, aspect, value in actions:
                if action == "add":
                    assert user is not None
                    assert value is not None
                    await store.rate(messages[clip], user, f"u{user}", aspect, value=value)
                    model[clip, user, aspect] = value
                    continue
                gone = [
                    key
                    for key, kept in model.items()
                    if (key[0], key[2]) == (clip, aspect)
                    and user in (None, key[1])
                    and value in (None, kept)
                ]
                for key in gone:
                    del model[key]
                if user is None:
                    count = await store.clear_ratings(messages[clip], value, aspect)
                else:
                    count = await store.unrate(messages[clip], user, value, aspect)
                assert count == len(gone)
            rows = [
                (clip, row.user_id, row.aspect, row.value, row.self_vote)
                for clip, (_, generation) in enumerate(made)
                for row in await store.ratings(generation.id)
            ]
            expected = [
                (clip, user, aspect, value, user == OWNER)
                for (clip, user, aspect), value in model.items()
            ]
            assert sorted(rows) == sorted(expected)

    asyncio.run(play())


async def test_a_second_rating_replaces_the_first(store: Store) -> None:
    job, clip = await rendered(store)
    first = await store.rate(message_of(job), 5, "Eve", value=1)
    second = await store.rate(message_of(job), 5, "Eve", value=-1)
    assert first is not None
    assert second is not None
    assert (first.value, second.value) == (1, -1)
    assert second.created_at == first.created_at
    assert second.updated_at >= first.updated_at
    assert await store.ratings(clip.id) == [second]


async def test_taking_the_old_reaction_away_keeps_the_new_rating(store: Store) -> None:
    job, clip = await rendered(store)
    await store.rate(message_of(job), 5, "Eve", value=1)
    kept = await store.rate(message_of(job), 5, "Eve", value=-1)
    assert not await store.unrate(message_of(job), 5, 1)
    assert await store.ratings(clip.id) == [kept]
    assert await store.unrate(message_of(job), 5, -1)
    assert await store.ratings(clip.id) == []


async def test_an_unknown_message_rates_nothing_and_makes_no_user(store: Store) -> None:
    assert await store.rate(404, 5, "Eve", value=1) is None
    assert await store.unrate(404, 5) is False
    assert await store.clear_ratings(404) == 0
    assert await store.get_user(5) is None


@pytest.mark.parametrize(
    ("aspect", "value"), [("overall", 0), ("overall", 2), ("Overall!", 1), ("", 1)]
)
async def test_other_values_and_aspects_are_refused(store: Store, aspect: str, value: int) -> None:
    job, clip = await rendered(store)
    with pytest.raises(ValueError, match=r"value|aspect"):
        await store.rate(message_of(job), 5, "Eve", aspect, value=value)
    assert await store.ratings(clip.id) == []


async def test_training_sees_only_what_both_sides_agreed_to(store: Store) -> None:
    job, clip = await rendered(store)
    message = message_of(job)
    await store.rate(message, OWNER, "Ada", value=1)
    eve = await store.rate(message, 5, "Eve", value=-1)
    await store.rate(message, 6, "Flo", value=1)
    assert await store.training_ratings() == []
    await store.set_training_consent(5, "Eve", consent=True)
    assert await store.training_ratings() == []
    await store.set_training_consent(OWNER, "Ada", consent=True)
    (allowed,) = await store.training_ratings()
    assert (allowed.generation, allowed.rating) == (clip, eve)
    await store.set_training_consent(5, "Eve", consent=False)
    assert await store.training_ratings() == []
    await store.set_training_consent(5, "Eve", consent=True)
    await store.set_generation_deleted(clip.id)
    assert await store.training_ratings() == []
