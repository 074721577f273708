"""A real store in a database of its own, and small ways to fill it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bot.store import Store
from tests.bot.store.databases import (
    Databases,
    Location,
    PostgresServer,
    SqliteFiles,
    postgres_server,
)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, or the test is skipped."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def databases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Databases:
    """Tests that use this, `location` or `store` run once for each kind of database."""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        return server
    return SqliteFiles(tmp_path_factory.mktemp("databases"))


@pytest.fixture
def location(databases: Databases) -> Location:
    """Return an argument for `Store.open`."""
    return databases.new()


@pytest.fixture
async def store(location: Location) -> AsyncIterator[Store]:
    async with await Store.open(location) as opened:
        yield opened


@pytest.fixture
def database_path(tmp_path: Path) -> Path:
    """An SQLite file that is not there yet, for tests of what only SQLite does."""
    return tmp_path / "data" / "floor33.db"


@pytest.fixture
async def file_store(database_path: Path) -> AsyncIterator[Store]:
    """A store in `database_path`."""
    async with await Store.open(database_path) as opened:
        yield opened
