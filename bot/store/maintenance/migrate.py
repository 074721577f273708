"""Bring a database to the newest schema, whatever state it is in.

The revisions lie in `migrations/` beside the `bot` package (a checkout or an editable install).
"""

from __future__ import annotations

import errno
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, NullPool, create_engine, inspect, text

from bot.files import make_private_folder
from bot.store.backends.postgres import MIGRATION_LOCK, PostgresBackend
from bot.store.backends.sqlite import (
    BUSY_TIMEOUT_MS,
    database_url,
    install_pragmas,
    make_file,
    translated,
    writing,
)
from bot.store.errors import ErrorKind, StoreError
from bot.store.maintenance.lost import is_blank, refuse_lost

MIGRATIONS: Final = Path(__file__).resolve().parents[3] / "migrations"
_VERSION_TABLE: Final = "alembic_version"


def alembic_config() -> Config:
    """Alembic's configuration, made in code so that it does not depend on the current folder."""
    config = Config()
    # Config interpolates "%", which a folder's name may contain.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def migrate(path: Path, *, anew: bool = False) -> None:
    """Create or upgrade the SQLite database at `path`, in one transaction. Blocks.

    Args:
        path: the file.
        anew: make an empty database even where an earlier one has left its clips.

    Raises StoreError: no write access, not a database, not a Floor33 database, made by a newer
    version, disk full, damaged, or lost: empty beside the clips of an earlier run. The file is
    then as it was.
    """
    _check_migrations()
    _prepare_folder(path)
    if not anew and is_blank(path):
        refuse_lost(path)
    _make_file(path)
    engine = create_engine(database_url(path, "sqlite"), poolclass=NullPool, hide_parameters=True)
    install_pragmas(engine, migrating=True)
    with translated(path):
        with writing(engine).begin() as connection:
            if not anew and not inspect(connection).get_table_names():
                refuse_lost(path)
            if _upgraded(str(path), connection):
                _check_references(path, connection)
        # Last, so that a file that is refused is not touched.
        _switch_to_wal(path)


async def migrate_server(backend: PostgresBackend) -> None:
    """Create or upgrade a database on a PostgreSQL server, in one transaction.

    Raises StoreError: no connection, no rights, not a Floor33 database, made by a newer version.
    The database is then as it was.
    """
    _check_migrations()
    with backend.translated():
        async with backend.writer.begin() as connection:
            # Processes that start together migrate once.
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            await connection.run_sync(lambda one: _upgraded(backend.name, one))


def check_revision(path: Path, connection: Connection) -> str:
    """The schema's revision of a database made by Floor33.

    Raises StoreError if it was made by something else, or by a newer version.
    """
    if not inspect(connection).get_table_names():
        raise StoreError(f"database {path}: it is empty")
    _is_current(str(path), connection)
    return MigrationContext.configure(connection).get_current_revision() or ""


def _check_migrations() -> None:
    if not (MIGRATIONS / "env.py").is_file():
        raise StoreError(f"the folder {MIGRATIONS} with the database migrations is missing")


def _upgraded(name: str, connection: Connection) -> bool:
    """Bring the schema up to date; whether anything had to be done."""
    if _is_current(name, connection):
        return False
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return True


def _check_references(path: Path, connection: Connection) -> None:
    # They are not enforced while tables are remade, so they are checked at the end.
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        raise StoreError(f"database {path}: a row of {broken[0]} refers to a missing row")


def _switch_to_wal(path: Path) -> None:
    """Turn the write-ahead log on: readers and the writer do not wait for each other then.

    The file remembers it. SQLite does not apply its busy timeout to this, so we do.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    with closing(sqlite3.connect(path)) as connection:
        while True:
            try:
                (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
                break
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
    if mode != "wal":
        raise StoreError(f"database {path}: SQLite needs a local disk (no write-ahead log here)")


def _prepare_folder(path: Path) -> None:
    try:
        make_private_folder(path.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"the folder {path.parent} cannot be made: {reason}") from error
    if path.is_dir():
        raise StoreError(f"database {path}: this is a folder, not a file")


def _make_file(path: Path) -> None:
    try:
        make_file(path)
    except OSError as error:
        raise StoreError(
            f"database {path}: the file cannot be made: {error.strerror or error}",
            kind=ErrorKind.FULL if error.errno == errno.ENOSPC else ErrorKind.DENIED,
        ) from error


def _is_current(name: str, connection: Connection) -> bool:
    """Return whether nothing is to be done; StoreError if the schema is not one we can upgrade."""
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return False
    if _VERSION_TABLE not in tables:
        raise StoreError(f"database {name}: this database was not made by Floor33")
    script = ScriptDirectory.from_config(alembic_config())
    current = set(MigrationContext.configure(connection).get_current_heads())
    known = {revision.revision for revision in script.walk_revisions()}
    if unknown := current - known:
        raise StoreError(
            f"database {name}: made by a newer version of Floor33 "
            f"(schema {', '.join(sorted(unknown))}); update Floor33 or use another database"
        )
    return current == set(script.get_heads())
