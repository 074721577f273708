"""The people who ask for clips: who is blocked, and how much somebody asked for lately."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, func, select

from bot.store.records import check_int64
from bot.store.repository import Repository
from bot.store.states import JobState
from bot.store.tables import Block, Job, utc_now
from bot.store.upsert import upsert


class People(Repository):
    """Blocks by user id, and what admission asks about a person or a server."""

    async def block(self, user_id: int) -> bool:
        """Block the user, known or not; False if they were blocked already."""
        check_int64("user_id", user_id)
        async with self._database.write() as session:
            if await session.get(Block, user_id) is not None:
                return False
            values = {"user_id": user_id, "created_at": utc_now()}
            await session.execute(
                upsert(session, Block, values, key=[Block.user_id], changes={"user_id": user_id})
            )
            return True

    async def unblock(self, user_id: int) -> bool:
        """Take the block back; False if there was none."""
        check_int64("user_id", user_id)
        async with self._database.write() as session:
            gone = await session.scalars(
                delete(Block).where(Block.user_id == user_id).returning(Block.user_id)
            )
            return gone.first() is not None

    async def is_blocked(self, user_id: int) -> bool:
        """Return whether the user is blocked."""
        async with self._database.read() as session:
            return await session.get(Block, user_id) is not None

    async def blocked_users(self) -> list[int]:
        """The ids of all blocked users, the last blocked first."""
        async with self._database.read() as session:
            query = select(Block.user_id).order_by(Block.created_at.desc(), Block.user_id)
            return list(await session.scalars(query))

    async def nth_last_job(self, user_id: int, number: int) -> datetime | None:
        """Return when the user asked for clip 1 (the last), 2 (the one before), …; None: never."""
        query = (
            select(Job.created_at)
            .where(Job.user_id == user_id)
            .order_by(Job.created_at.desc())
            .offset(number - 1)
            .limit(1)
        )
        async with self._database.read() as session:
            return await session.scalar(query)

    async def servers_of(self, user_id: int, limit: int) -> list[int]:
        """Servers in which the user has asked for clips, the latest first."""
        last = func.max(Job.created_at)
        query = (
            select(Job.guild_id)
            .where(Job.user_id == user_id, Job.guild_id.is_not(None))
            .group_by(Job.guild_id)
            .order_by(last.desc())
            .limit(limit)
        )
        async with self._database.read() as session:
            return [guild_id for guild_id in await session.scalars(query) if guild_id is not None]

    async def jobs_of_server(self, guild_id: int) -> dict[JobState, int]:
        """Count the jobs of the server that wait and that are rendered, by state."""
        active = (JobState.QUEUED.value, JobState.RUNNING.value)
        query = (
            select(Job.state, func.count())
            .where(Job.guild_id == guild_id, Job.state.in_(active))
            .group_by(Job.state)
        )
        async with self._database.read() as session:
            return {JobState(state): count for state, count in await session.execute(query)}
