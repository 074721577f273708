"""Connections to PostgreSQL: their settings, and poolers that would mix them up.

The driver, asyncpg, is optional: everything of it is imported where it is used.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from bot.store.backends.postgres_errors import POOLER_SHARES_SESSIONS, sqlstate
from bot.store.errors import ErrorKind, StoreError

_CONNECT_TIMEOUT_S: Final = 10
_COMMAND_TIMEOUT_S: Final = 60
_LOCK_TIMEOUT_MS: Final = 10_000
# A bot that died with its machine may leave a transaction open; it must not keep locks forever.
_IDLE_TIMEOUT_MS: Final = 60_000
_SCHEMES: Final = ("postgresql", "postgres")
_POOLER_LOOKS: Final = 3
# Refusals of a transaction, or of a statement that another client has prepared.
_POOLER_REFUSALS: Final = ("08P01", "26000", "42P05")


def is_postgres_url(url: str) -> bool:
    """Return whether this is the address of a database on a PostgreSQL server."""
    return urlsplit(url).scheme in _SCHEMES


def shown(dsn: str) -> str:
    """The address without what is secret in it: no password, no options."""
    parts = urlsplit(dsn)
    user, at, place = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{user.partition(':')[0]}{at}{place}{parts.path}"


async def connect(dsn: str) -> Any:
    """An asyncpg connection whose session has our settings.

    They are set once it is there: a pooler refuses those that are sent with the password.

    Raises StoreError for an address that cannot be read, and what asyncpg and the socket raise.
    """
    connection = await _connected(dsn)
    try:
        await connection.execute(
            "SET application_name = 'floor33';"
            f"SET lock_timeout = {_LOCK_TIMEOUT_MS};"
            f"SET idle_in_transaction_session_timeout = {_IDLE_TIMEOUT_MS};"
            "SET timezone = 'UTC'"
        )
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _connected(dsn: str) -> Any:
    import asyncpg

    try:
        return await asyncpg.connect(
            dsn, timeout=_CONNECT_TIMEOUT_S, command_timeout=_COMMAND_TIMEOUT_S
        )
    except ValueError:
        # Its text may hold a part of the password.
        raise StoreError(
            "the address in database.url (or FLOOR33_DATABASE_URL) cannot be read; in a password "
            "characters such as / : @ [ ? # % are written as %2F and so on",
            kind=ErrorKind.DENIED,
        ) from None


async def _backend_pid(connection: Any) -> int:
    """The process of the server that works for the connection; the driver may know a pooler's."""
    return int(await connection.fetchval("SELECT pg_backend_pid()"))


async def refuse_shared_sessions(dsn: str) -> None:
    """Raise StoreError for a pooler that gives each transaction another connection of the server.

    Locks and settings of a session would be somebody else's there. Without a pooler this costs
    one connection. Raises what asyncpg and the socket raise, too.
    """
    import asyncpg

    first = await _connected(dsn)
    try:
        own = await _backend_pid(first)
        if own == first.get_server_pid():
            return  # nobody stands between us and the server
        second = await _connected(dsn)
        try:
            shared = await _share_a_session(first, own, second)
        except asyncpg.PostgresError as error:
            if sqlstate(error)[0] not in _POOLER_REFUSALS:
                raise
            shared = True
        finally:
            second.terminate()
    finally:
        first.terminate()
    if shared:
        kind, words = POOLER_SHARES_SESSIONS
        raise StoreError(f"database {shown(dsn)}: {words}", kind=kind)


async def _share_a_session(first: Any, own: int, second: Any) -> bool:
    """Return whether two clients get the same server process, or one of them changes its own."""
    for _ in range(_POOLER_LOOKS):
        async with second.transaction():
            # While this lasts, the process works for nobody else.
            if await _backend_pid(second) == own or await _backend_pid(first) != own:
                return True
    return False
