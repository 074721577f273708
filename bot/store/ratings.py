"""Ratings: one per user, clip and aspect, revocable."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import CursorResult, Delete, Select, delete, select
from sqlalchemy.orm import aliased

from bot.store.mapping import generation_record, rating_record
from bot.store.records import OVERALL, RatingRecord, TrainingRating, check_rating
from bot.store.repository import Repository
from bot.store.states import JobState
from bot.store.tables import Block, Generation, Job, Rating, User, utc_now
from bot.store.upsert import upsert
from bot.store.users import upsert_user


@dataclass(frozen=True, slots=True)
class ShownClip:
    """The message that shows a clip."""

    channel_id: int
    message_id: int


def _generation_of(message_id: int) -> Select[str]:
    query = select(Generation.id).join(Job, Job.id == Generation.job_id)
    return query.where(Job.message_id == message_id)


class Ratings(Repository):
    """Ratings by the message that shows the clip, as reactions arrive."""

    async def rate(
        self,
        message_id: int,
        user_id: int,
        user_name: str | None,
        aspect: str = OVERALL,
        *,
        value: int,
    ) -> RatingRecord | None:
        """Set the user's rating (+1 or -1) of the clip; it replaces their earlier one.

        None, and nothing is written, if the message shows no clip or a deleted one, or the user is
        blocked. A rating by the user who asked for the clip is marked `self_vote`. Without a name
        the user keeps the one that is known. Raises ValueError for another value.
        """
        if value is None:
            raise ValueError("a rating's value must be 1 or -1, not None")
        check_rating(aspect, value)
        query = (
            select(Generation.id, Job.user_id)
            .join(Job, Job.id == Generation.job_id)
            .where(Job.message_id == message_id, Generation.deleted_at.is_(None))
        )
        async with self._database.write() as session:
            found = (await session.execute(query)).one_or_none()
            if found is None or await session.get(Block, user_id) is not None:
                return None
            generation_id, owner_id = found
            await upsert_user(session, user_id, user_name)
            now = utc_now()
            changes = {"value": value, "updated_at": now}
            key = {"generation_id": generation_id, "user_id": user_id, "aspect": aspect}
            first = {"self_vote": user_id == owner_id, "created_at": now}
            row = await session.scalar(
                upsert(
                    session,
                    Rating,
                    key | first | changes,
                    key=[Rating.generation_id, Rating.user_id, Rating.aspect],
                    changes=changes,
                ).returning(Rating)
            )
            return None if row is None else rating_record(row)

    async def unrate(
        self, message_id: int, user_id: int, value: int | None = None, aspect: str = OVERALL
    ) -> bool:
        """Take the user's rating back; whether there was one.

        With `value`, only a rating of that value goes: taking an old thumbs-down away must not
        undo the thumbs-up that replaced it.
        """
        gone = await self._delete(message_id, value, aspect, user_id)
        return gone > 0

    async def clear_ratings(
        self, message_id: int, value: int | None = None, aspect: str = OVERALL
    ) -> int:
        """Remove everyone's ratings (of one value) of the clip; how many went."""
        return await self._delete(message_id, value, aspect, None)

    async def message_ratings(self, message_id: int, aspect: str = OVERALL) -> dict[int, int]:
        """Return the value (+1 or -1) that each user gave the clip that this message shows."""
        query = select(Rating.user_id, Rating.value).where(
            Rating.generation_id.in_(_generation_of(message_id)), Rating.aspect == aspect
        )
        async with self._database.read() as session:
            rows = (await session.execute(query)).all()
            return {row.user_id: row.value for row in rows}

    async def shown_clips(self, since: datetime, until: datetime, limit: int) -> list[ShownClip]:
        """Return clips of that time that were delivered and not deleted, newest first."""
        query = (
            select(Job.channel_id, Job.message_id)
            .join(Generation, Generation.job_id == Job.id)
            .where(Job.state == JobState.DELIVERED.value, Job.message_id.is_not(None))
            .where(Generation.deleted_at.is_(None), Generation.created_at >= since)
            .where(Generation.created_at < until)
            .order_by(Generation.created_at.desc(), Generation.id)
            .limit(limit)
        )
        async with self._database.read() as session:
            rows = (await session.execute(query)).all()
            return [
                ShownClip(channel_id, message_id)
                for channel_id, message_id in rows
                if message_id is not None
            ]

    async def ratings(self, generation_id: str) -> list[RatingRecord]:
        """All ratings of the clip, oldest first; a deleted clip keeps its ratings."""
        query = select(Rating).where(Rating.generation_id == generation_id)
        async with self._database.read() as session:
            rows = await session.scalars(query.order_by(Rating.id))
            return [rating_record(row) for row in rows]

    async def training_ratings(self) -> list[TrainingRating]:
        """Ratings that may be trained on, oldest first.

        Both who asked for the clip and who rated it agreed; self-votes and deleted clips are out.
        """
        owner, rater = aliased(User), aliased(User)
        query = (
            select(Generation, Rating)
            .join(Rating, Rating.generation_id == Generation.id)
            .join(Job, Job.id == Generation.job_id)
            .join(owner, owner.id == Job.user_id)
            .join(rater, rater.id == Rating.user_id)
            .where(owner.training_consent, rater.training_consent)
            .where(~Rating.self_vote, Generation.deleted_at.is_(None))
            .order_by(Rating.id)
        )
        async with self._database.read() as session:
            rows = (await session.execute(query)).all()
            return [
                TrainingRating(generation=generation_record(clip), rating=rating_record(rating))
                for clip, rating in rows
            ]

    async def _delete(
        self, message_id: int, value: int | None, aspect: str, user_id: int | None
    ) -> int:
        check_rating(aspect, value)
        query: Delete = delete(Rating).where(
            Rating.generation_id.in_(_generation_of(message_id)), Rating.aspect == aspect
        )
        if value is not None:
            query = query.where(Rating.value == value)
        if user_id is not None:
            query = query.where(Rating.user_id == user_id)
        async with self._database.write() as session:
            result = await session.execute(query.execution_options(synchronize_session=False))
            return cast(CursorResult[Any], result).rowcount
