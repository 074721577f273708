"""Alembic's entry point. The bot passes a connection; from the command line a file is named:

alembic -x database=data/floor33.db revision --autogenerate -m "…"
"""

from pathlib import Path

from alembic import context
from sqlalchemy import Connection, create_engine

from bot.store.backends.sqlite import database_url
from bot.store.tables import Base


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,  # SQLite alters a table by making it anew
        transactional_ddl=True,  # our engine opens the transaction itself
    )
    with context.begin_transaction():
        context.run_migrations()


def _main() -> None:
    given = context.config.attributes.get("connection")
    if given is not None:
        _run(given)
        return
    path = context.get_x_argument(as_dictionary=True).get("database")
    if path is None:
        raise SystemExit("name the database: alembic -x database=FILE …")
    with create_engine(database_url(Path(path), "sqlite")).begin() as connection:
        _run(connection)


_main()
