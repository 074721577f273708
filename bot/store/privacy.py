"""Removing what people gave the bot: one clip's words and picture, or all of one person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.store.errors import UnknownGenerationError
from bot.store.mapping import generation_record
from bot.store.records import GenerationRecord, check_int64
from bot.store.repository import Repository
from bot.store.states import UNFINISHED
from bot.store.tables import (
    Asset,
    Base,
    Block,
    ExpansionRow,
    Generation,
    Job,
    Rating,
    User,
    utc_now,
)

_UNFINISHED: Final = tuple(state.value for state in UNFINISHED)
_BATCH: Final = 1000
_SECRET_COLUMNS: Final = frozenset({"interaction_token"})


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """Stored paths of files that no row names any more."""

    clips: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The data that was kept of a person, in rows that are gone."""

    known: bool
    jobs: int = 0
    rerolls: int = 0  # of other people, made of the person's words
    ratings: int = 0
    files: StoredFiles = StoredFiles()


def picture_is_needed() -> ColumnElement[bool]:
    """Return the condition that the job of this row may still ask for its picture.

    It may while it is not over, and as long as its clip is there: that can be rolled again.
    """
    has_clip = (
        select(Generation.id)
        .where(Generation.job_id == Job.id, Generation.deleted_at.is_(None))
        .exists()
    )
    return Job.state.in_(_UNFINISHED) | has_clip


async def _without_traces(session: AsyncSession) -> None:
    """Have SQLite overwrite what this transaction deletes, not only unlink it."""
    if session.get_bind().dialect.name == "sqlite":
        await session.execute(text("PRAGMA secure_delete = ON"))


class Privacy(Repository):
    """Deletion and disclosure of what people typed and sent."""

    async def remove_clip(self, generation_id: str) -> GenerationRecord:
        """Mark the clip deleted and blank the words it was made of, in every row of its job.

        Seed, model, settings and ratings stay. Again: the first time of deletion is kept. Raises
        UnknownGenerationError.
        """
        async with self._database.write() as session:
            clip = await session.get(Generation, generation_id, with_for_update=True)
            if clip is None:
                raise UnknownGenerationError(generation_id)
            await _without_traces(session)
            clip.deleted_at = clip.deleted_at or utc_now()
            clip.expired = False
            clip.prompt = ""
            clip.expanded_prompt = clip.negative_prompt = None
            clip.unread = clip.unread_negative = None
            await session.execute(
                update(Job).where(Job.id == clip.job_id).values(prompt="", negative_prompt=None)
            )
            await session.execute(
                update(ExpansionRow)
                .where(ExpansionRow.job_id == clip.job_id)
                .values(original="", expanded="")
            )
            return generation_record(clip)

    async def remove_words(self, job_id: str) -> None:
        """Blank the words of a job that is over without a clip; does nothing to others."""
        has_clip = select(Generation.id).where(Generation.job_id == job_id).exists()
        over = Job.state.not_in(_UNFINISHED)
        async with self._database.write() as session:
            await _without_traces(session)
            gone = await session.scalars(
                update(Job)
                .where(Job.id == job_id, over, ~has_clip)
                .values(prompt="", negative_prompt=None)
                .returning(Job.id)
            )
            if gone.first() is not None:
                await session.execute(
                    update(ExpansionRow)
                    .where(ExpansionRow.job_id == job_id)
                    .values(original="", expanded="")
                )

    async def unneeded_picture(self, job_id: str) -> str | None:
        """The stored path of the job's picture, if no job needs it any more."""
        async with self._database.read() as session:
            return await _unneeded_picture(session, job_id)

    async def export_person(self, user_id: int) -> dict[str, Any]:
        """Return everything that is kept of a person, as values that JSON has.

        Times are in ISO format, paths relative to the data folder.
        """
        check_int64("user_id", user_id)
        own = select(Job.id).where(Job.user_id == user_id)
        async with self._database.read() as session:

            async def rows(table: type[Base], condition: ColumnElement[bool]) -> list[Any]:
                found = await session.scalars(
                    select(table).where(condition).order_by(*table.__table__.primary_key)
                )
                return [_values(row) for row in found.unique()]

            pictures = select(Job.image_asset_id).where(Job.user_id == user_id)
            return {
                "user_id": user_id,
                "blocked": await session.get(Block, user_id) is not None,
                "users": await rows(User, User.id == user_id),
                "jobs": await rows(Job, Job.user_id == user_id),
                "expansions": await rows(ExpansionRow, ExpansionRow.job_id.in_(own)),
                "clips": await rows(Generation, Generation.job_id.in_(own)),
                "pictures": await rows(Asset, Asset.id.in_(pictures)),
                "ratings_given": await rows(Rating, Rating.user_id == user_id),
            }

    async def forget_person(
        self, user_id: int, remove_files: Callable[[StoredFiles], None]
    ) -> Forgotten:
        """Delete every row about a person, and those of re-rolls that hold their words.

        A block stays, which is a bare id.

        Args:
            user_id: whom to forget.
            remove_files: is given the files that nobody needs any more, before the rows go: if
                the process ends in between, the rows still tell where the rest is.
        """
        check_int64("user_id", user_id)
        async with self._database.write(exclusive=True) as session:
            await _without_traces(session)
            own = set(await session.scalars(select(Job.id).where(Job.user_id == user_id)))
            derived = await _derived_jobs(session, user_id) - own
            jobs = sorted(own | derived)
            clips, pictures = await _detach_files(session, jobs)
            ratings = await session.scalars(
                delete(Rating).where(Rating.user_id == user_id).returning(Rating.id)
            )
            given = len(ratings.all())
            await _delete_jobs(session, jobs)
            await _delete(session, Asset, Asset.path, pictures)
            known = await session.scalars(delete(User).where(User.id == user_id).returning(User.id))
            files = StoredFiles(tuple(clips), tuple(pictures))
            forgotten = Forgotten(
                known=known.first() is not None,
                jobs=len(own),
                rerolls=len(derived),
                ratings=given,
                files=files,
            )
            remove_files(files)
            return forgotten


async def _unneeded_picture(session: AsyncSession, job_id: str) -> str | None:
    job = await session.get(Job, job_id)
    if job is None or job.image_asset is None:
        return None
    query = select(Job.id).where(Job.image_asset_id == job.image_asset_id, picture_is_needed())
    if (await session.execute(query.limit(1))).first() is not None:
        return None
    return job.image_asset.path


async def _derived_jobs(session: AsyncSession, user_id: int) -> set[str]:
    """The person's own orders and all re-rolls of them, whoever asked for these."""
    first = select(Job.id).where(Job.user_id == user_id, Job.parent_generation_id.is_(None))
    found = set(await session.scalars(first))
    newest = sorted(found)
    while newest:
        children: set[str] = set()
        for ids in _batches(newest):
            query = select(Job.id).join(Generation, Job.parent_generation_id == Generation.id)
            children |= set(await session.scalars(query.where(Generation.job_id.in_(ids))))
        newest = sorted(children - found)
        found |= children
    return found


async def _detach_files(session: AsyncSession, jobs: Sequence[str]) -> tuple[list[str], list[str]]:
    """Paths of the jobs' clips, and of their pictures that no other job needs."""
    clips: list[str] = []
    assets: dict[int, str] = {}
    for ids in _batches(jobs):
        clips += await session.scalars(select(Generation.path).where(Generation.job_id.in_(ids)))
        rows = await session.execute(
            select(Asset.id, Asset.path)
            .join(Job, Job.image_asset_id == Asset.id)
            .where(Job.id.in_(ids))
        )
        assets |= dict(rows.all())
        # Out of the way of the question which other jobs need them.
        await session.execute(update(Job).where(Job.id.in_(ids)).values(image_asset_id=None))
    needed: set[int] = set()
    for ids in _batches(sorted(assets)):
        query = select(Job.image_asset_id).where(Job.image_asset_id.in_(ids), picture_is_needed())
        needed |= {number for number in await session.scalars(query) if number is not None}
    gone = sorted(assets.keys() - needed)
    for ids in _batches(gone):
        await session.execute(
            update(Job).where(Job.image_asset_id.in_(ids)).values(image_asset_id=None)
        )
    return clips, [assets[number] for number in gone]


async def _delete_jobs(session: AsyncSession, jobs: Sequence[str]) -> None:
    """The jobs with all that hangs on them; re-rolls of their clips stand on their own then."""
    for ids in _batches(jobs):
        clips = select(Generation.id).where(Generation.job_id.in_(ids)).scalar_subquery()
        await session.execute(
            update(Job)
            .where(Job.parent_generation_id.in_(clips))
            .values(parent_generation_id=None)
            .execution_options(synchronize_session=False)
        )
        for statement in (
            delete(Rating).where(Rating.generation_id.in_(clips)),
            delete(ExpansionRow).where(ExpansionRow.job_id.in_(ids)),
            delete(Generation).where(Generation.job_id.in_(ids)),
            delete(Job).where(Job.id.in_(ids)),
        ):
            await session.execute(statement.execution_options(synchronize_session=False))


async def _delete(
    session: AsyncSession, table: type[Base], column: Any, values: Sequence[Any]
) -> None:
    for some in _batches(values):
        statement = delete(table).where(column.in_(some))
        await session.execute(statement.execution_options(synchronize_session=False))


def _batches(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (values[start : start + _BATCH] for start in range(0, len(values), _BATCH))


def _values(row: Base) -> dict[str, Any]:
    """The row's columns as JSON has them, without what would let others in."""
    values = {
        column.key: getattr(row, column.key)
        for column in row.__table__.columns
        if column.key not in _SECRET_COLUMNS
    }
    return {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in values.items()
    }
