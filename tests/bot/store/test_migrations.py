"""The migrations make the schema of the models, once, from anywhere."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Engine, create_engine, inspect

from bot.store import Store
from bot.store.backends.sqlite import database_url
from bot.store.maintenance.migrate import alembic_config, migrate
from bot.store.tables import Base
from tests.bot.store.databases import Location
from tests.bot.store.examples import rendered
from tests.bot.store.schemas import differences


def schema(path: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def checks(engine: Engine) -> dict[str, Any]:
    seen = inspect(engine)
    return {
        table: sorted(
            (check["name"], check["sqltext"]) for check in seen.get_check_constraints(table)
        )
        for table in Base.metadata.tables
    }


def test_migrated_schema_equals_the_models(database_path: Path) -> None:
    migrate(database_path)
    migrated = create_engine(database_url(database_path, "sqlite"))
    with migrated.connect() as connection:
        assert differences(connection) == []
    # The comparison above does not look at CHECK constraints.
    created = create_engine("sqlite://")
    Base.metadata.create_all(created)
    assert checks(migrated) == checks(created)
    assert any(checks(created).values())
    migrated.dispose()
    created.dispose()


def test_migrating_again_changes_nothing(database_path: Path) -> None:
    migrate(database_path)
    before = schema(database_path)
    migrate(database_path)
    assert schema(database_path) == before


async def test_reopening_keeps_every_row(location: Location) -> None:
    async with await Store.open(location) as store:
        job, clip = await rendered(store)
    async with await Store.open(location) as store:
        assert await store.get_job(job.id) == job
        assert await store.get_generation(clip.id) == clip


def test_the_first_revision_can_be_undone(database_path: Path) -> None:
    migrate(database_path)
    engine = create_engine(database_url(database_path, "sqlite"))
    with engine.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    engine.dispose()
    with closing(sqlite3.connect(database_path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        assert tables.fetchall() == [("alembic_version",)]


def test_an_interrupted_first_start_is_made_good(database_path: Path) -> None:
    database_path.parent.mkdir()
    database_path.touch()
    migrate(database_path)
    assert len(schema(database_path)) > len(Base.metadata.tables)


@pytest.mark.parametrize("name", ["spa ce", "100%", "ümläut", "a?b=c#d"])
def test_any_name_of_the_data_folder_will_do(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "floor33.db"
    migrate(path)
    assert path.is_file()


def test_processes_that_start_together_migrate_once(database_path: Path, tmp_path: Path) -> None:
    # From another folder: nothing may hang on the current one.
    root = Path(__file__).resolve().parents[3]
    script = (
        f"import sys; sys.path.insert(0, {str(root)!r})\n"
        "import asyncio; from pathlib import Path; from bot.store import Store\n"
        "async def main():\n"
        "    async with await Store.open(Path(sys.argv[1])) as store:\n"
        "        print(len(await store.unfinished_jobs()))\n"
        "asyncio.run(main())\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(database_path)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in running:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out.strip(), err) == (0, "0", "")
