"""INSERT … ON CONFLICT, which SQLite and PostgreSQL share and SQLAlchemy keeps apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from bot.store.tables import Base


def upsert(
    session: AsyncSession,
    table: type[Base],
    values: Mapping[str, Any],
    *,
    key: Sequence[Any],
    changes: Mapping[str, Any],
) -> sqlite.Insert | postgresql.Insert:
    """Insert a row, or make `changes` to the one that has the same `key` columns already.

    Without changes such a row stays as it is.
    """
    is_server = session.get_bind().dialect.name == "postgresql"
    insert = (postgresql.insert if is_server else sqlite.insert)(table).values(**values)
    if not changes:
        return insert.on_conflict_do_nothing(index_elements=key)
    return insert.on_conflict_do_update(index_elements=key, set_=changes)
