"""Looking back: what a user asked for, how long clips took, what failed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import cast

from sqlalchemy import func, select

from bot.store.mapping import generation_record, job_record
from bot.store.records import GenerationRecord, PastJob, check_int64
from bot.store.repository import Repository
from bot.store.states import JobState
from bot.store.tables import Generation, Job


class History(Repository):
    """Queries over what has been; nothing is changed."""

    async def past_jobs(self, user_id: int, limit: int) -> list[PastJob]:
        """A user's last jobs with their clips, newest first."""
        check_int64("user_id", user_id)
        query = (
            select(Job, Generation)
            .outerjoin(Generation, Generation.job_id == Job.id)
            .where(Job.user_id == user_id)
            .order_by(Job.created_at.desc(), Job.id)
            .limit(limit)
        )
        async with self._database.read() as session:
            # The outer join leaves out what SQLAlchemy's types take for granted.
            rows = cast(
                "Iterable[tuple[Job, Generation | None]]", (await session.execute(query)).unique()
            )
            return [
                PastJob(
                    job=job_record(job),
                    generation=None if clip is None else generation_record(clip),
                )
                for job, clip in rows
            ]

    async def undelivered_jobs(self, user_id: int, limit: int) -> list[PastJob]:
        """Return a user's jobs whose clips are there and could not be sent, newest first."""
        check_int64("user_id", user_id)
        query = (
            select(Job, Generation)
            .join(Generation, Generation.job_id == Job.id)
            .where(
                Job.user_id == user_id,
                Job.state == JobState.RENDERED.value,
                Job.reason.is_not(None),
                Generation.deleted_at.is_(None),
            )
            .order_by(Job.created_at.desc(), Job.id)
            .limit(limit)
        )
        async with self._database.read() as session:
            rows = (await session.execute(query)).unique()
            return [
                PastJob(job=job_record(job), generation=generation_record(clip))
                for job, clip in rows
            ]

    async def past_generations(self, limit: int) -> list[GenerationRecord]:
        """The last clips of everybody, oldest first: what estimates learn from."""
        query = select(Generation).order_by(Generation.created_at.desc()).limit(limit)
        async with self._database.read() as session:
            return [generation_record(row) for row in await session.scalars(query)][::-1]

    async def endings(
        self, since: datetime, *, guild_id: int | None = None
    ) -> dict[tuple[JobState, str | None], int]:
        """Count the jobs (of one server) that ended since then, by state and reason."""
        query = (
            select(Job.state, Job.reason, func.count())
            .where(Job.finished_at >= since)
            .group_by(Job.state, Job.reason)
        )
        if guild_id is not None:
            query = query.where(Job.guild_id == guild_id)
        async with self._database.read() as session:
            rows = (await session.execute(query)).all()
            return {(JobState(state), reason): count for state, reason, count in rows}
