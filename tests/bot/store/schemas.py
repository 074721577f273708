"""Comparing a database's schema with the models."""

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from bot.store.tables import Base


def differences(connection: Connection) -> list[Any]:
    """Return the changes that a migration would make; CHECK constraints are not looked at."""
    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True}
    )
    found: list[Any] = compare_metadata(context, Base.metadata)
    return found
