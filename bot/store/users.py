"""Users, and whether what they typed and rated may be trained on."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from bot.store.mapping import user_record
from bot.store.records import UserRecord, check_int64
from bot.store.repository import Repository
from bot.store.tables import User
from bot.store.upsert import upsert


async def upsert_user(session: AsyncSession, user_id: int, name: str | None) -> None:
    """Make the user's row, or bring its name up to date; consent stays as it is.

    Without a name (None, or the id itself) the one that is known stays.
    """
    check_int64("user_id", user_id)
    unnamed = str(user_id)
    changes = {} if name in (None, unnamed) else {"name": name}
    await session.execute(
        upsert(
            session, User, {"id": user_id, "name": name or unnamed}, key=[User.id], changes=changes
        )
    )


class Users(Repository):
    """Users by their Discord id."""

    async def get_user(self, user_id: int) -> UserRecord | None:
        """The user, or None if they never asked for or rated anything."""
        async with self._database.read() as session:
            row = await session.get(User, user_id)
            return None if row is None else user_record(row)

    async def set_training_consent(self, user_id: int, name: str, consent: bool) -> UserRecord:
        """Note that the user agrees to training on their prompts and ratings, or no longer does."""
        async with self._database.write() as session:
            await upsert_user(session, user_id, name)
            row = await session.get_one(User, user_id)
            row.training_consent = consent
            return user_record(row)
