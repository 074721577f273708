"""Store jobs and the states that they pass through."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.store.errors import IllegalTransitionError, StoreError, UnknownJobError
from bot.store.mapping import columns, expansion_record, job_record
from bot.store.records import ExpansionRecord, JobRecord, NewAsset, NewJob, check_int64
from bot.store.repository import Repository
from bot.store.states import TRANSITIONS, UNFINISHED, JobState
from bot.store.tables import Asset, ExpansionRow, Job, utc_now
from bot.store.upsert import upsert
from bot.store.users import upsert_user


async def load_job(session: AsyncSession, job_id: str) -> Job:
    """Return the job's row, for this transaction to change; raises UnknownJobError."""
    row = await session.get(Job, job_id, with_for_update={"of": Job})
    if row is None:
        raise UnknownJobError(job_id)
    return row


def move(job: Job, wanted: JobState, error: str | None = None, reason: str | None = None) -> None:
    """Change the row's state and times; raises IllegalTransitionError and changes nothing."""
    if wanted not in TRANSITIONS[JobState(job.state)]:
        raise IllegalTransitionError(job.id, job.state, wanted)
    job.state = wanted.value
    job.error, job.reason = error, reason
    if wanted is JobState.RUNNING:
        job.attempts += 1
        job.started_at = utc_now()
    elif wanted is JobState.QUEUED:
        job.started_at = None
    elif wanted.final:
        job.finished_at = utc_now()
        job.interaction_token = None  # of no use any more


async def _store_asset(session: AsyncSession, asset: NewAsset) -> int:
    """Return the row of this file, made if it is new; StoreError if the path holds another."""
    row = await session.scalar(select(Asset).where(Asset.path == asset.path))
    if row is None:
        row = Asset(**columns(asset, Asset))
        session.add(row)
        await session.flush()
    elif row.sha256 != asset.sha256:
        raise StoreError(f"asset {asset.path!r} is already stored with other contents")
    return row.id


async def _next_in_line(session: AsyncSession) -> datetime:
    """Return the time, or one after the last unfinished job's if the clock was put back."""
    unfinished = Job.state.in_([state.value for state in UNFINISHED])
    last = await session.scalar(select(func.max(Job.created_at)).where(unfinished))
    now = utc_now()
    return now if last is None else max(now, last + timedelta(microseconds=1))


class Jobs(Repository):
    """Jobs by id, and the queue that survives a restart."""

    async def create_job(self, new: NewJob) -> JobRecord:
        """Store a queued job with its user and picture, all or nothing. Raises StoreError."""
        async with self._database.write() as session:
            await upsert_user(session, new.user_id, new.user_name)
            asset_id = None
            if new.image_asset is not None:
                asset_id = await _store_asset(session, new.image_asset)
            row = Job(
                id=uuid.uuid4().hex,
                state=JobState.QUEUED.value,
                image_asset_id=asset_id,
                created_at=await _next_in_line(session),
                **columns(new, Job),
            )
            session.add(row)
            await session.flush()
            if new.expanded_prompt is not None:
                inherited = {"backend": "inherited", "language": "inherited"}
                session.add(
                    ExpansionRow(
                        job_id=row.id,
                        original=new.params.prompt,
                        expanded=new.expanded_prompt,
                        **inherited,
                    )
                )
                await session.flush()
            await session.refresh(row)
            return job_record(row)

    async def get_job(self, job_id: str) -> JobRecord | None:
        """Return the job, or None."""
        async with self._database.read() as session:
            row = await session.get(Job, job_id)
            return None if row is None else job_record(row)

    async def job_by_message(self, message_id: int) -> JobRecord | None:
        """Return the job that this message shows, or None."""
        async with self._database.read() as session:
            row = await session.scalar(select(Job).where(Job.message_id == message_id))
            return None if row is None else job_record(row)

    async def unfinished_jobs(self, user_id: int | None = None) -> list[JobRecord]:
        """Return jobs (of one user) that are queued, running or rendered; oldest first."""
        query = select(Job).where(Job.state.in_([state.value for state in UNFINISHED]))
        if user_id is not None:
            query = query.where(Job.user_id == user_id)
        async with self._database.read() as session:
            rows = await session.scalars(query.order_by(Job.created_at, Job.id))
            return [job_record(row) for row in rows]

    async def requeue_running(self) -> int:
        """Put jobs that a stopped process left running back in the queue; return their number."""
        async with self._database.write() as session:
            query = select(Job).where(Job.state == JobState.RUNNING.value).with_for_update(of=Job)
            rows = (await session.scalars(query)).all()
            for row in rows:
                move(row, JobState.QUEUED)
            return len(rows)

    async def set_message(self, job_id: str, channel_id: int, message_id: int) -> JobRecord:
        """Note which message shows the job.

        Raises UnknownJobError, and StoreError if the message already shows another job.
        """
        check_int64("channel_id", channel_id)
        check_int64("message_id", message_id)
        async with self._database.write() as session:
            row = await load_job(session, job_id)
            query = select(Job.id).where(Job.message_id == message_id, Job.id != job_id)
            if (other := await session.scalar(query)) is not None:
                raise StoreError(f"message {message_id} already shows job {other}")
            row.channel_id = channel_id
            row.message_id = message_id
            return job_record(row)

    async def active_jobs(self, *, user_id: int | None = None, guild_id: int | None = None) -> int:
        """Count the jobs of a user or server that wait or are rendered."""
        active = (JobState.QUEUED.value, JobState.RUNNING.value)
        query = select(func.count()).select_from(Job).where(Job.state.in_(active))
        if user_id is not None:
            query = query.where(Job.user_id == user_id)
        if guild_id is not None:
            query = query.where(Job.guild_id == guild_id)
        async with self._database.read() as session:
            return await session.scalar(query) or 0

    async def count_active_jobs(self) -> int:
        """Count the jobs being rendered or delivered: work that a moment's wait may finish."""
        delivering = (Job.state == JobState.RENDERED.value) & Job.reason.is_(None)
        query = select(func.count()).select_from(Job)
        query = query.where((Job.state == JobState.RUNNING.value) | delivering)
        async with self._database.read() as session:
            return await session.scalar(query) or 0

    async def note_undelivered(
        self, job_id: str, error: str, reason: str = "undelivered"
    ) -> JobRecord:
        """Note why a rendered job's clip has not reached its user; the job stays rendered.

        `reason` is the same in one word.

        Raises UnknownJobError, and IllegalTransitionError if the job is not rendered.
        """
        async with self._database.write() as session:
            row = await load_job(session, job_id)
            if row.state != JobState.RENDERED.value:
                raise IllegalTransitionError(job_id, row.state, "undelivered")
            row.error, row.reason = error, reason
            return job_record(row)

    async def set_job_state(
        self,
        job_id: str,
        state: JobState,
        error: str | None = None,
        reason: str | None = None,
    ) -> JobRecord:
        """Move the job on. Raises UnknownJobError, IllegalTransitionError.

        `RENDERED` is refused: `add_generation` sets it together with the clip, so that no job is
        rendered without a clip to deliver.
        """
        async with self._database.write() as session:
            row = await load_job(session, job_id)
            if state is JobState.RENDERED:
                raise IllegalTransitionError(job_id, row.state, f"{state} without its clip")
            move(row, state, error, reason)
            return job_record(row)

    async def add_expansion(
        self,
        job_id: str,
        original: str,
        expanded: str,
        backend: str,
        language: str,
        fallback: str | None = None,
    ) -> ExpansionRecord:
        """Keep what the prompt became; a later one replaces it until the clip is rendered.

        `fallback` says why the user's own words were kept, if they were.

        Raises UnknownJobError, and StoreError once the clip exists or the job has ended.
        """
        async with self._database.write() as session:
            job = await load_job(session, job_id)
            if JobState(job.state) not in (JobState.QUEUED, JobState.RUNNING):
                raise StoreError(f"job {job_id} is {job.state}: its prompt is settled")
            values = {
                "original": original,
                "expanded": expanded,
                "backend": backend,
                "language": language,
                "fallback": fallback,
                "created_at": utc_now(),
            }
            await session.execute(
                upsert(
                    session,
                    ExpansionRow,
                    {"job_id": job_id, **values},
                    key=[ExpansionRow.job_id],
                    changes=values,
                )
            )
            session.expire_all()
            return expansion_record(await session.get_one(ExpansionRow, job_id))
