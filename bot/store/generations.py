"""Finished clips and the model revisions that made them."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.store.errors import UnknownGenerationError
from bot.store.jobs import load_job, move
from bot.store.mapping import columns, generation_record
from bot.store.records import GenerationRecord, NewGeneration
from bot.store.repository import Repository
from bot.store.states import JobState
from bot.store.tables import Generation, ModelRevision, utc_now
from bot.store.upsert import upsert


async def _note_revision(session: AsyncSession, model: str, revision: str) -> None:
    now = utc_now()
    await session.execute(
        upsert(
            session,
            ModelRevision,
            {"model": model, "revision": revision, "first_used_at": now, "last_used_at": now},
            key=[ModelRevision.model, ModelRevision.revision],
            changes={"last_used_at": now},
        )
    )


class Generations(Repository):
    """Clips by id or job. A deleted clip's row stays, with the time of its deletion."""

    async def add_generation(self, new: NewGeneration) -> GenerationRecord:
        """Record the clip of a running job and make the job rendered, all or nothing.

        Raises UnknownJobError, and IllegalTransitionError if the job is not running.
        """
        async with self._database.write() as session:
            move(await load_job(session, new.job_id), JobState.RENDERED)
            await _note_revision(session, new.params.model, new.model_revision)
            row = Generation(**columns(new, Generation))
            session.add(row)
            await session.flush()
            return generation_record(row)

    async def get_generation(self, generation_id: str) -> GenerationRecord | None:
        """Return the clip, deleted or not, or None."""
        async with self._database.read() as session:
            row = await session.get(Generation, generation_id)
            return None if row is None else generation_record(row)

    async def generation_by_job(self, job_id: str) -> GenerationRecord | None:
        """Return the job's clip, deleted or not, or None."""
        async with self._database.read() as session:
            row = await session.scalar(select(Generation).where(Generation.job_id == job_id))
            return None if row is None else generation_record(row)

    async def set_generation_deleted(self, generation_id: str) -> GenerationRecord:
        """Mark the clip deleted; its ratings stay. Again: the first time is kept.

        Raises UnknownGenerationError.
        """
        async with self._database.write() as session:
            row = await session.get(Generation, generation_id, with_for_update=True)
            if row is None:
                raise UnknownGenerationError(generation_id)
            if row.deleted_at is None:
                row.deleted_at = utc_now()
            return generation_record(row)
