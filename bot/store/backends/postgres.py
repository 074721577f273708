"""PostgreSQL below the store: connections, who may write, and errors put into words.

The driver, asyncpg, is optional: everything of it is imported where it is used.
"""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from sqlalchemy import event, text
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from bot.store.errors import StoreError, TakenOverError, Trouble

if TYPE_CHECKING:
    from bot.store.backends.claim import Claim

CONNECT_TIMEOUT_S: Final = 10
_COMMAND_TIMEOUT_S: Final = 60
_LOCK_TIMEOUT_MS: Final = 10_000
# A bot that died with its machine may leave a transaction open; it must not keep the lock forever.
_IDLE_TIMEOUT_MS: Final = 60_000
_SCHEMES: Final = ("postgresql", "postgres")
_POOLER_LOOKS: Final = 3
# Refusals of a transaction, or of a statement that another client has prepared.
_POOLER_REFUSALS: Final = ("08P01", "26000", "42P05")

# Advisory locks are numbers that programs agree on; the second tells apart two bots that share a
# database, each in a schema of its own.
_SCHEMA: Final = "hashtext(coalesce(current_schema(), ''))"
WRITE_LOCK: Final = f"3891, {_SCHEMA}"
CLAIM_LOCK: Final = f"3892, {_SCHEMA}"
CLAIM_HOLDERS: Final = (
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = 3892 "
    f"AND objid = ({_SCHEMA}::bigint & 4294967295)::oid AND objsubid = 2 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)

_DENIED: Final = (Trouble.DENIED, "the server refused the user or the password")
_LOCKED: Final = (Trouble.BUSY, "another program keeps the database locked")
_ENDING: Final = (Trouble.UNREACHABLE, "the server is starting or stopping")
_DAMAGED: Final = (Trouble.DAMAGED, "the server says that the database is damaged")
_POOLED: Final = (
    Trouble.DENIED,
    (
        "the pooler in front of the server changes connections between transactions; "
        "set it to session mode (pool_mode = session), or connect directly"
    ),
)
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_WORDS: Final = {
    # A pooler's own refusals have this code, too.
    "08P01": (
        Trouble.UNREACHABLE,
        "the server, or a pooler in front of it, refused or ended the connection",
    ),
    # Prepared statements that belong to another client of the same pooler.
    "26000": _POOLED,
    "42P05": _POOLED,
    "28000": _DENIED,
    "28P01": _DENIED,
    "3D000": (Trouble.DENIED, "the server has no such database; make it with createdb"),
    "3F000": (Trouble.DENIED, "there is no schema to make tables in"),
    "42501": (Trouble.DENIED, "the user may not do this"),
    "25006": (Trouble.DENIED, "the server only allows reading"),
    "53100": (Trouble.FULL, "the server's disk is full"),
    "53200": (Trouble.BUSY, "the server is out of memory"),
    "53300": (Trouble.BUSY, "the server has too many connections"),
    "58P01": (Trouble.IO, "the server misses a file of its own"),
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
    "55P03": _LOCKED,
    "40001": _LOCKED,
    "40P01": _LOCKED,
    "57P01": _ENDING,
    "57P02": _ENDING,
    "57P03": _ENDING,
    "22021": (Trouble.OTHER, "a text cannot be stored"),
}
_CLASSES: Final = {
    "08": (Trouble.UNREACHABLE, "the connection to the server was lost"),
    "22": (Trouble.OTHER, "a value cannot be stored"),
    "23": (Trouble.OTHER, "a row contradicts a rule of the database"),
    "25": (Trouble.BUSY, "the transaction was ended by the server"),
    "40": _LOCKED,
    "53": (Trouble.BUSY, "the server is short of resources"),
    "55": _LOCKED,
    "57": (Trouble.UNREACHABLE, "the server broke the work off"),
    "58": (Trouble.IO, "the server could not read or write its files"),
}
# The first line about these quotes what was to be stored; of others, later lines may.
_QUOTING: Final = "22"


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
            dsn, timeout=CONNECT_TIMEOUT_S, command_timeout=_COMMAND_TIMEOUT_S
        )
    except ValueError:
        # Its text may hold a part of the password.
        raise StoreError(
            "the address in database.url (or FLOOR33_DATABASE_URL) cannot be read; in a password "
            "characters such as / : @ [ ? # % are written as %2F and so on",
            trouble=Trouble.DENIED,
        ) from None


async def backend_pid(connection: Any) -> int:
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
        own = await backend_pid(first)
        if own == first.get_server_pid():
            return  # nobody stands between us and the server
        second = await _connected(dsn)
        try:
            shared = await _share_a_session(first, own, second)
        except asyncpg.PostgresError as error:
            if _code(error)[0] not in _POOLER_REFUSALS:
                raise
            shared = True
        finally:
            second.terminate()
    finally:
        first.terminate()
    if shared:
        trouble, words = _POOLED
        raise StoreError(f"database {shown(dsn)}: {words}", trouble=trouble)


async def _share_a_session(first: Any, own: int, second: Any) -> bool:
    """Return whether two clients get the same server process, or one of them changes its own."""
    for _ in range(_POOLER_LOOKS):
        async with second.transaction():
            # While this lasts, the process works for nobody else.
            if await backend_pid(second) == own or await backend_pid(first) != own:
                return True
    return False


def _check_connected(_connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Have a connection made anew that has ended since: the server was restarted, perhaps.

    The driver knows it without asking, so this costs no turn as SQLAlchemy's pings would.
    """
    driver = record.driver_connection
    if driver is not None and driver.is_closed():
        raise DisconnectionError


def in_words(name: str, error: BaseException) -> StoreError:
    """One line that says what is wrong with the database called `name`; no value of a row."""
    code, driver = _code(error)
    trouble, words = _WORDS.get(code) or _CLASSES.get(code[:2]) or _of_connecting(driver)
    if code[:2] == _QUOTING or type(driver).__name__ == "DataError":
        detail = code or type(driver).__name__
        words = words or _CLASSES[_QUOTING][1]
    else:
        detail = str(driver).splitlines()[0] if str(driver) else type(driver).__name__
    message = f"database {name}: {words} ({detail})" if words else f"database {name}: {detail}"
    return StoreError(message, trouble=trouble, from_driver=True)


def _code(error: BaseException) -> tuple[str, BaseException]:
    """The server's code for the error ("" without one), and the innermost exception.

    That one is the driver's own: its text is not wrapped in SQL and the names of classes.
    """
    code = ""
    while True:
        code = str(getattr(error, "sqlstate", None) or code)
        inner = getattr(error, "orig", None) or error.__cause__
        if inner is None:
            return code, error
        error = inner


def _of_connecting(error: BaseException) -> tuple[Trouble, str]:
    import asyncpg

    match error:
        case ConnectionRefusedError() | FileNotFoundError():
            return Trouble.UNREACHABLE, "no server answers there; is PostgreSQL running?"
        case socket.gaierror():
            return Trouble.UNREACHABLE, "the server's name is not known"
        case TimeoutError():
            return Trouble.UNREACHABLE, "the server does not answer"
        case ConnectionError() | OSError():
            return Trouble.UNREACHABLE, "the server cannot be reached"
        case PoolTimeout():
            return Trouble.BUSY, "all connections are in use"
        case asyncpg.ClientConfigurationError():
            return Trouble.DENIED, "the server cannot be used with this address"
        case asyncpg.InterfaceError() | asyncpg.InternalClientError():
            return Trouble.UNREACHABLE, "the connection to the server was lost"
        case _:
            return Trouble.OTHER, ""


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn what the driver raises into a StoreError with one clear line.

    The driver's own exception is not shown with it: it may quote what was to be stored.
    """
    import asyncpg

    try:
        yield
    except UnicodeEncodeError as error:  # half a surrogate pair: valid in JSON, not in UTF-8
        raise StoreError(f"a text cannot be stored: {error.reason}") from None
    except (
        SQLAlchemyError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        OSError,
    ) as error:
        if "surrogates not allowed" in str(error):  # as above, wrapped by the driver
            raise StoreError("a text cannot be stored: surrogates not allowed") from None
        raise in_words(name, error) from None


class PostgresBackend:
    """A database on a server that `migrate_server` has prepared. See `database.Backend`.

    Raises StoreError if the driver is not installed.
    """

    path = None

    def __init__(self, dsn: str) -> None:
        if importlib.util.find_spec("asyncpg") is None:
            raise StoreError(
                "a PostgreSQL database needs the package asyncpg: pip install 'floor33[postgres]'"
            )
        self.name = shown(dsn)
        self._dsn = dsn
        # The driver reads the address itself: it knows all that libpq knows, .pgpass included.
        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=lambda: connect(dsn),
            pool_size=5,
            max_overflow=5,
            hide_parameters=True,
        )
        event.listen(engine.sync_engine, "checkout", _check_connected)
        self.writer: AsyncEngine = engine.execution_options(isolation_level="READ COMMITTED")
        self.reader: AsyncEngine = engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self._claim: Claim | None = None

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what the driver raises into a StoreError, as the function of this name does."""
        with translated(self.name):
            yield

    def check_present(self) -> None:
        """Nothing: a server's database cannot be moved while it is used."""

    async def rescue(self) -> bool:
        """False: see `check_present`."""
        return False

    async def begin_write(self, session: AsyncSession) -> None:
        """Wait for the one right to write, as in SQLite.

        Every statement after it sees what was committed before, so there is nothing that could
        fail to be serialised or run into a deadlock. Raises TakenOverError.
        """
        await session.execute(text(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})"))
        if self._claim is not None:
            holders = await session.scalars(text(CLAIM_HOLDERS))
            if self._claim.lost or set(holders) - {self._claim.pid}:
                raise TakenOverError(self.name)

    async def claim(self) -> None:
        """Take the claim from whoever has it. Raises StoreError."""
        from bot.store.backends.claim import Claim

        self._claim = Claim(self._dsn, self.name)
        with self.translated():
            await self._claim.take()

    @property
    def claimed(self) -> bool:
        """True if no other bot has claimed the database since `claim`."""
        return self._claim is None or not self._claim.lost

    async def close(self) -> None:
        """Give the claim back and close every connection."""
        if self._claim is not None:
            await self._claim.close()
        await self.reader.dispose()

    async def check_server(self) -> None:
        """Raise StoreError if the server, or a pooler before it, cannot be worked with."""
        with self.translated():
            await refuse_shared_sessions(self._dsn)


async def server_version(dsn: str) -> str:
    """The version of the server that has the database, e.g. "15.4". Raises StoreError."""
    backend = PostgresBackend(dsn)  # says what is missing
    with backend.translated():
        await refuse_shared_sessions(dsn)
        connection = await connect(dsn)
        try:
            return str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close()
