"""Peculiarities of a PostgreSQL server: connections, passwords, one bot among several."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import Connection, text

from bot.store import ErrorKind, JobState, Store, StoreError
from bot.store.backends.postgres import PostgresBackend, shown
from bot.store.jobs import load_job
from bot.store.maintenance.migrate import alembic_config
from bot.store.tables import Base
from tests.bot.store.databases import PASSWORD, SERVER_VARIABLE, PostgresServer
from tests.bot.store.examples import A_JOB
from tests.bot.store.schemas import differences

PATIENCE_S = 30


@pytest.fixture
def address(postgres: PostgresServer) -> str:
    return postgres.new()


async def until(condition: Callable[[], object | Awaitable[object]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = condition()
            if isinstance(found, Awaitable):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)


async def refused(address: str) -> StoreError:
    with pytest.raises(StoreError) as caught:
        await Store.open(address)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"database {shown(address)}: ")
    return caught.value


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://me:hunter2@db.lan:5433/x?password=y", "postgresql://me@db.lan:5433/x"),
        ("postgres:///x?host=/tmp/socket", "postgres:///x"),
        ("postgresql://db/x", "postgresql://db/x"),
    ],
)
def test_an_address_is_shown_without_its_secrets(address: str, said: str) -> None:
    assert shown(address) == said


async def test_no_server_there(unused_tcp_port: int) -> None:
    error = await refused(f"postgresql://me:hunter2@127.0.0.1:{unused_tcp_port}/x")
    assert "is PostgreSQL running?" in str(error)
    assert "hunter2" not in str(error)
    assert error.kind is ErrorKind.UNREACHABLE


async def test_another_kind_of_address() -> None:
    with pytest.raises(StoreError, match="postgresql://"):
        await Store.open("mysql://me@host/x")


async def test_a_database_that_is_not_there(postgres: PostgresServer) -> None:
    error = await refused(postgres.url_of("floor33_nowhere"))
    assert "createdb" in str(error)
    assert error.kind is ErrorKind.DENIED


async def test_a_wrong_password_is_not_shown(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SERVER_VARIABLE, raising=False)
    if not any(row["rolname"] == "locked" for row in postgres.execute("SELECT * FROM pg_roles")):
        pytest.skip("this server has no user with a password")
    address = postgres.empty()
    name = address.partition("?")[0].rpartition("/")[2]
    error = await refused(postgres.url_of(name, user="locked:hunter2"))
    assert "refused the user or the password" in str(error)
    assert "hunter2" not in str(error)
    # The right one is let in, though it may make no tables: schema public is its owner's.
    right = postgres.url_of(name, user=f"locked:{PASSWORD.replace(' ', '%20')}")
    error = await refused(right)
    assert "may not do this" in str(error)


async def test_somebody_elses_database_stays_as_it_was(postgres: PostgresServer) -> None:
    address = postgres.empty()
    name = address.partition("?")[0].rpartition("/")[2]
    postgres.execute("CREATE TABLE jobs (title TEXT)", database=name)
    assert "not made by Floor33" in str(await refused(address))
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    assert [row[0] for row in postgres.execute(tables, database=name)] == ["jobs"]


async def test_a_database_from_a_newer_version(postgres: PostgresServer, address: str) -> None:
    name = address.partition("?")[0].rpartition("/")[2]
    postgres.execute("UPDATE alembic_version SET version_num = '9999'", database=name)
    assert "newer version" in str(await refused(address))


async def test_bots_that_start_together_migrate_once(postgres: PostgresServer) -> None:
    address = postgres.empty()
    stores = await asyncio.gather(*(Store.open(address) for _ in range(3)))
    for store in stores:
        assert await store.unfinished_jobs() == []
        await store.close()


async def test_the_migrated_schema_is_that_of_the_models(address: str) -> None:
    backend = PostgresBackend(address)
    async with backend.writer.begin() as connection:
        assert await connection.run_sync(differences) == []
        # Constraints that the comparison does not look at.
        checks = text("SELECT conname FROM pg_constraint WHERE contype = 'c'")
        found = set((await connection.execute(checks)).scalars())
    await backend.close()
    named = {
        str(constraint.name)
        for table in Base.metadata.tables.values()
        for constraint in table.constraints
        if str(constraint.name).startswith("ck_")
    }
    assert named <= found


async def test_the_migrations_can_be_undone(address: str) -> None:
    from alembic import command

    def downgrade(connection: Connection) -> None:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")

    backend = PostgresBackend(address)
    async with backend.writer.begin() as connection:
        await connection.run_sync(downgrade)
        tables = await connection.execute(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        )
        assert set(tables.scalars()) == {"alembic_version"}
    await backend.close()


async def test_a_store_outlives_its_connections(postgres: PostgresServer, address: str) -> None:
    name = address.partition("?")[0].rpartition("/")[2]
    async with await Store.open(address) as store:
        job = await store.create_job(A_JOB)
        end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        assert postgres.execute(end)

        async def works() -> bool:
            try:
                return await store.get_job(job.id) == job
            except StoreError as error:
                assert error.kind is ErrorKind.UNREACHABLE  # noqa: PT017 - it may or may not
                return False

        await until(works)
        await store.set_job_state(job.id, JobState.RUNNING)


async def test_who_waits_too_long_is_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.store.backends.postgres_connection._LOCK_TIMEOUT_MS", 50)
    async with await Store.open(address) as store, await Store.open(address) as other:
        job = await store.create_job(A_JOB)
        async with store._database.write() as session:
            await load_job(session, job.id)
            assert await other.unfinished_jobs() == [job]  # readers go on
            with pytest.raises(StoreError, match="keeps the database locked") as error:
                await other.set_job_state(job.id, JobState.RUNNING)
        assert error.value.kind is ErrorKind.BUSY
        await other.set_job_state(job.id, JobState.RUNNING)


async def test_writes_of_two_programs_do_not_wait_for_each_other(address: str) -> None:
    async with await Store.open(address) as store, await Store.open(address) as other:
        await store.lease.acquire()
        job = await store.create_job(A_JOB)
        async with store._database.write() as session, asyncio.timeout(PATIENCE_S):
            await load_job(session, job.id)
            await other.block(7)
        assert await store.is_blocked(7)


async def test_a_person_is_forgotten_while_nobody_else_writes(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.store.backends.postgres_connection._LOCK_TIMEOUT_MS", 50)
    async with await Store.open(address) as store, await Store.open(address) as command:
        await store.lease.acquire()
        await store.create_job(A_JOB)
        async with store._database.write():
            with pytest.raises(StoreError, match="keeps the database locked"):
                await command.forget_person(A_JOB.user_id, lambda files: None)
        async with command._database.write(exclusive=True):
            with pytest.raises(StoreError, match="keeps the database locked"):
                await store.create_job(A_JOB)
        forgotten = await command.forget_person(A_JOB.user_id, lambda files: None)
        assert forgotten.jobs == 1
        assert await store.unfinished_jobs() == []
        await store.create_job(A_JOB)


async def test_a_lease_outlives_its_connections_unless_taken(
    postgres: PostgresServer, address: str
) -> None:
    name = address.partition("?")[0].rpartition("/")[2]

    def end_every_connection() -> None:
        postgres.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )

    def holders() -> list[str]:
        rows = postgres.execute("SELECT owner FROM leases WHERE owner <> ''", database=name)
        return [row["owner"] for row in rows]

    async with await Store.open(address) as store:
        await store.lease.acquire()
        assert holders() == [store.lease.owner]
        end_every_connection()

        async def works() -> bool:
            try:
                return bool(await store.create_job(A_JOB))
            except StoreError as error:
                assert error.kind is ErrorKind.UNREACHABLE  # noqa: PT017 - it may or may not
                return False

        await until(works)
        assert store.lease.is_held()
        assert holders() == [store.lease.owner]
    assert holders() == []  # closed: nothing is left behind


async def test_a_database_on_a_server_is_no_file(address: str) -> None:
    async with await Store.open(address) as store:
        assert store.name == shown(address)
        with pytest.raises(StoreError, match="no file"):
            _ = store.path


async def test_without_the_driver_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StoreError, match=r"pip install 'floor33\[postgres\]'"):
        await Store.open("postgresql://me@host/x")
