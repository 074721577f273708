"""Errors of PostgreSQL and its driver, put into words."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from bot.store.errors import ErrorKind, StoreError

_DENIED: Final = (ErrorKind.DENIED, "the server refused the user or the password")
_LOCKED: Final = (ErrorKind.BUSY, "another program keeps the database locked")
_ENDING: Final = (ErrorKind.UNREACHABLE, "the server is starting or stopping")
_DAMAGED: Final = (ErrorKind.DAMAGED, "the server says that the database is damaged")
POOLER_SHARES_SESSIONS: Final = (
    ErrorKind.DENIED,
    (
        "the pooler in front of the server changes connections between transactions; "
        "set it to session mode (pool_mode = session), or connect directly"
    ),
)
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_WORDS: Final = {
    # A pooler's own refusals have this code, too.
    "08P01": (
        ErrorKind.UNREACHABLE,
        "the server, or a pooler in front of it, refused or ended the connection",
    ),
    # Prepared statements that belong to another client of the same pooler.
    "26000": POOLER_SHARES_SESSIONS,
    "42P05": POOLER_SHARES_SESSIONS,
    "28000": _DENIED,
    "28P01": _DENIED,
    "3D000": (ErrorKind.DENIED, "the server has no such database; make it with createdb"),
    "3F000": (ErrorKind.DENIED, "there is no schema to make tables in"),
    "42501": (ErrorKind.DENIED, "the user may not do this"),
    "25006": (ErrorKind.DENIED, "the server only allows reading"),
    "53100": (ErrorKind.FULL, "the server's disk is full"),
    "53200": (ErrorKind.BUSY, "the server is out of memory"),
    "53300": (ErrorKind.BUSY, "the server has too many connections"),
    "58P01": (ErrorKind.IO, "the server misses a file of its own"),
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
    "55P03": _LOCKED,
    "40001": _LOCKED,
    "40P01": _LOCKED,
    "57P01": _ENDING,
    "57P02": _ENDING,
    "57P03": _ENDING,
    "22021": (ErrorKind.OTHER, "a text cannot be stored"),
}
_CLASSES: Final = {
    "08": (ErrorKind.UNREACHABLE, "the connection to the server was lost"),
    "22": (ErrorKind.OTHER, "a value cannot be stored"),
    "23": (ErrorKind.OTHER, "a row contradicts a rule of the database"),
    "25": (ErrorKind.BUSY, "the transaction was ended by the server"),
    "40": _LOCKED,
    "53": (ErrorKind.BUSY, "the server is short of resources"),
    "55": _LOCKED,
    "57": (ErrorKind.UNREACHABLE, "the server broke the work off"),
    "58": (ErrorKind.IO, "the server could not read or write its files"),
}
# The first line about these quotes what was to be stored; of others, later lines may.
_QUOTING: Final = "22"


def translate_db_error(name: str, error: BaseException) -> StoreError:
    """One line that says what is wrong with the database called `name`; no value of a row."""
    code, driver = sqlstate(error)
    kind, words = _WORDS.get(code) or _CLASSES.get(code[:2]) or _connection_error(driver)
    if code[:2] == _QUOTING or type(driver).__name__ == "DataError":
        detail = code or type(driver).__name__
        words = words or _CLASSES[_QUOTING][1]
    else:
        detail = str(driver).splitlines()[0] if str(driver) else type(driver).__name__
    message = f"database {name}: {words} ({detail})" if words else f"database {name}: {detail}"
    return StoreError(message, kind=kind, from_driver=True)


def sqlstate(error: BaseException) -> tuple[str, BaseException]:
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


def _connection_error(error: BaseException) -> tuple[ErrorKind, str]:
    import asyncpg

    match error:
        case ConnectionRefusedError() | FileNotFoundError():
            return ErrorKind.UNREACHABLE, "no server answers there; is PostgreSQL running?"
        case socket.gaierror():
            return ErrorKind.UNREACHABLE, "the server's name is not known"
        case TimeoutError():
            return ErrorKind.UNREACHABLE, "the server does not answer"
        case ConnectionError() | OSError():
            return ErrorKind.UNREACHABLE, "the server cannot be reached"
        case PoolTimeout():
            return ErrorKind.BUSY, "all connections are in use"
        case asyncpg.ClientConfigurationError():
            return ErrorKind.DENIED, "the server cannot be used with this address"
        case asyncpg.InterfaceError() | asyncpg.InternalClientError():
            return ErrorKind.UNREACHABLE, "the connection to the server was lost"
        case _:
            return ErrorKind.OTHER, ""


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn what the driver raises into a StoreError with one clear line.

    The driver's own exception is not shown with it: it may quote what was to be stored.
    """
    import asyncpg

    try:
        yield
    except StoreError:  # one may be an OSError too
        raise
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
        raise translate_db_error(name, error) from None
