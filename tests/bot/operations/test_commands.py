"""`python -m bot backup` and `restore`: exit codes, and what is said."""

import asyncio
from pathlib import Path

import pytest

from bot.__main__ import main
from bot.store import Store
from tests.bot.store.examples import A_JOB, AN_ANIMATION


def make_store(path: Path) -> None:
    async def fill() -> None:
        async with await Store.open(path) as store:
            await store.create_job(A_JOB)
            await store.create_job(AN_ANIMATION)

    asyncio.run(fill())


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "bot.toml"
    file.write_text('data_dir = "data"\n')
    return file


def run(config: Path, *arguments: object) -> int:
    return main(["--config", str(config), *map(str, arguments)])


def test_there_and_back_again(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database, copy = tmp_path / "data" / "floor33.db", tmp_path / "copy.db"
    make_store(database)
    assert run(config, "backup", copy) == 0
    out, err = capsys.readouterr()
    assert str(copy) in out
    assert err.count("\n") == 1  # the picture of the example is nowhere
    assert "inputs/2026-01/kite.png is gone" in err

    assert run(config, "restore", copy) == 1
    assert "--force" in capsys.readouterr().err
    assert run(config, "restore", copy, "--force") == 0
    out, err = capsys.readouterr()
    assert "before-restore" in out
    assert err == ""

    database.unlink()
    assert run(config, "restore", copy) == 0
    assert "before-restore" not in capsys.readouterr().out

    async def jobs() -> int:
        async with await Store.open(database) as store:
            return len(await store.unfinished_jobs())

    assert asyncio.run(jobs()) == 2


def test_a_backup_that_is_not_there(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "restore", "nowhere.db") == 2
    assert "there is no backup" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "tool"), [("backup", "pg_dump"), ("restore", "pg_restore")])
def test_a_database_on_a_server_has_tools_of_its_own(
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    tool: str,
) -> None:
    monkeypatch.setenv("FLOOR33_DATABASE_URL", "postgresql://me:hunter2@127.0.0.1:1/x")
    assert run(config, command, tmp_path / "copy.db") == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert tool in err
    assert "hunter2" not in err
    assert not (tmp_path / "copy.db").exists()


def test_a_log_file_that_cannot_be_written_ends_the_start(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    config.write_text('[log]\nfile = "file/bot.log"\n')
    assert run(config) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "log.file" in err
