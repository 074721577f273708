"""Fresh databases to test with: SQLite files, and those of a real PostgreSQL server."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import pytest

from bot.store import Store

Location = Path | str
SERVER_VARIABLE = "FLOOR33_TEST_POSTGRES_URL"
PASSWORD = "correct horse"


class Databases(Protocol):
    def new(self) -> Location:
        """Return the place of a database with the newest schema, for nobody else to use."""


class SqliteFiles:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def new(self) -> Path:
        return self._folder / uuid.uuid4().hex / "floor33.db"


def outside(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """The coroutine's result, from a loop of its own: one may be running here."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(work())).result()


class PostgresServer:
    """A server on which databases can be made. `url` is that of a database to connect to."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._template: str | None = None
        self._made: list[str] = []

    def url_of(self, database: str, user: str | None = None) -> str:
        parts = urlsplit(self.url)
        place = parts.netloc if user is None else f"{user}@{parts.netloc.rpartition('@')[2]}"
        return urlunsplit(parts._replace(path=f"/{database}", netloc=place))

    def execute(self, *statements: str, database: str | None = None) -> list[Any]:
        """Run the statements; the rows of the last one."""

        async def run() -> list[Any]:
            import asyncpg

            rows: list[Any] = []
            connection = await asyncpg.connect(self.url_of(database) if database else self.url)
            try:
                for statement in statements:
                    rows = await connection.fetch(statement)
            finally:
                await connection.close()
            return rows

        result: list[Any] = outside(run)
        return result

    def empty(self) -> str:
        """The address of a database without tables."""
        return self._make("template1")

    def new(self) -> str:
        if self._template is None:
            address = self.empty()

            async def migrate() -> None:
                async with await Store.open(address):
                    pass

            outside(migrate)
            self._template = urlsplit(address).path[1:]
        return self._make(self._template)

    def drop(self) -> None:
        self.execute(*(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)" for name in self._made))

    def _make(self, template: str) -> str:
        name = f"floor33_test_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        self._made.append(name)
        return self.url_of(name)


def server_programs() -> Path | None:
    """The folder of PostgreSQL's own programs; the newest, where Debian keeps several."""
    debian = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    found = max(debian, key=lambda path: float(path.parts[-3]), default=None)
    if found is None and (elsewhere := shutil.which("initdb")):
        found = Path(elsewhere).resolve()
    return None if found is None else found.parent


def server_user() -> str | None:
    """Whom to run the server as: it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@contextmanager
def throw_away_server(programs: Path) -> Iterator[PostgresServer]:
    """A server of our own, on a socket in a folder of its own, that promises no durability."""
    # Not pytest's folder: a socket's path has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="floor33-pg-"))
    user = server_user()
    data = folder / "data"
    if user is not None:
        shutil.chown(folder, user)

    def run(*command: str) -> None:
        done = subprocess.run(
            command,
            user=user,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            # A file, because the server keeps it open.
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {(folder / 'log').read_text()[-2000:]}")

    control = (str(programs / "pg_ctl"), "-D", str(data), "-w")
    options = (
        f"-c listen_addresses='' -c unix_socket_directories={folder} -c max_connections=200 "
        "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"
    )
    with open(folder / "log", "w", encoding="utf-8") as log:
        try:
            setup = ("-U", "floor33", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
            run(str(programs / "initdb"), "-D", str(data), *setup)
            rules = data / "pg_hba.conf"
            rules.write_text("local all locked scram-sha-256\nlocal all all trust\n")
            run(*control, "-o", options, "start")
            try:
                server = PostgresServer(f"postgresql://floor33@/postgres?host={folder}")
                server.execute(f"CREATE ROLE locked LOGIN PASSWORD '{PASSWORD}'")
                yield server
            finally:
                run(*control, "-m", "immediate", "stop")
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """The server of the environment, else one of our own; skips the test if there is neither."""
    pytest.importorskip("asyncpg", reason="asyncpg is not installed (the extra 'postgres')")
    if url := os.environ.get(SERVER_VARIABLE):
        server = PostgresServer(url)
        try:
            yield server
        finally:
            server.drop()
        return
    programs = server_programs()
    if programs is None:
        pytest.skip(f"no PostgreSQL server: set {SERVER_VARIABLE}, or install postgresql")
    with throw_away_server(programs) as server:
        yield server
