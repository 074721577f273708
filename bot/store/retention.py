"""Retention: find the files that nobody needs any more, and mark their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, select, update

from bot.store.repository import Repository
from bot.store.states import UNFINISHED
from bot.store.tables import Asset, Generation, Job, Rating, utc_now

_UNFINISHED: Final = tuple(state.value for state in UNFINISHED)
# SQLite takes 32,766 values in one statement, PostgreSQL 32,767.
_BATCH: Final = 1000


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that a row knows. `path` as it is stored; `created_at` is the row's."""

    id: str
    job_id: str
    path: str
    created_at: datetime


def _expirable() -> ColumnElement[bool]:
    """Clips that may go: their job is over, and nobody has rated them."""
    rated = select(Rating.id).where(Rating.generation_id == Generation.id).exists()
    over = select(Job.id).where(Job.id == Generation.job_id, Job.state.not_in(_UNFINISHED)).exists()
    return Generation.deleted_at.is_(None) & over & ~rated


class Retention(Repository):
    """Old clips by age, and pictures without a clip. Rows stay: only files go."""

    async def expirable_clips(self) -> list[StoredFile]:
        """Unrated clips of jobs that are over, oldest first."""
        query = select(Generation.id, Generation.job_id, Generation.path, Generation.created_at)
        async with self._database.read() as session:
            rows = await session.execute(
                query.where(_expirable()).order_by(Generation.created_at, Generation.id)
            )
            return [StoredFile(*row) for row in rows]

    async def expire_clips(self, generation_ids: Sequence[str]) -> set[str]:
        """Mark these clips deleted, but not those that were rated meanwhile; which were marked.

        Their rows stay, with the time; `ratings` of others and re-rolls are not touched.
        """
        marked: set[str] = set()
        for start in range(0, len(generation_ids), _BATCH):
            ids = generation_ids[start : start + _BATCH]
            async with self._database.write() as session:
                rows = await session.scalars(
                    update(Generation)
                    .where(Generation.id.in_(ids), _expirable())
                    .values(deleted_at=utc_now(), expired=True)
                    .returning(Generation.id)
                    .execution_options(synchronize_session=False)
                )
                marked |= set(rows)
        return marked

    async def deleted_clips(self) -> list[StoredFile]:
        """Every clip that was deleted; its files should be gone."""
        query = select(Generation.id, Generation.job_id, Generation.path, Generation.created_at)
        async with self._database.read() as session:
            rows = await session.execute(query.where(Generation.deleted_at.is_not(None)))
            return [StoredFile(*row) for row in rows]

    async def needed_pictures(self, since: datetime) -> set[str]:
        """Stored paths of pictures that a job may still ask for.

        Needed are those of jobs that go on or ended after `since`, and of clips that are there:
        they can be re-rolled.
        """
        has_clip = (
            select(Generation.id)
            .where(Generation.job_id == Job.id, Generation.deleted_at.is_(None))
            .exists()
        )
        needed = Job.state.in_(_UNFINISHED) | (Job.finished_at >= since) | has_clip
        query = select(Asset.path).join(Job, Job.image_asset_id == Asset.id).where(needed)
        async with self._database.read() as session:
            return set(await session.scalars(query.distinct()))
