"""`python -m bot forget` and `export`."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from bot.__main__ import main
from bot.store import JobState, Store
from tests.bot.conftest import World, picture
from tests.bot.store.examples import A_JOB, OWNER, changed, rendered


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "bot.toml"
    file.write_text('data_dir = "data"\n')
    return file


def run(config: Path, *arguments: object) -> int:
    return main(["--config", str(config), *map(str, arguments)])


def fill(folder: Path) -> None:
    async def jobs() -> None:
        async with await Store.open(folder / "floor33.db") as store:
            job, _ = await rendered(store, changed(A_JOB, prompt="雪 in the words"))
            await store.set_job_state(job.id, JobState.DELIVERED)

    asyncio.run(jobs())


def test_export_and_forget(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "data")
    assert run(config, "export", OWNER) == 0
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert json.loads(shown)["jobs"][0]["prompt"] == "雪 in the words"
    file = tmp_path / "ada.json"
    file.write_text("older")
    file.chmod(0o644)
    assert run(config, "export", OWNER, "--output", file) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == json.loads(shown)
    capsys.readouterr()
    assert run(config, "forget", OWNER) == 0
    said = capsys.readouterr().out
    assert "1 jobs, 1 clips" in said
    assert "backups" in said
    assert run(config, "forget", OWNER) == 0
    assert "Nothing is kept" in capsys.readouterr().out


@pytest.mark.parametrize("user_id", ["alice", "0", "-5", "1.5", "9" * 30, "", "٣"])
@pytest.mark.parametrize("command", ["forget", "export"])
def test_what_is_no_id(
    config: Path, capsys: pytest.CaptureFixture[str], command: str, user_id: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(config, command, "--", user_id)
    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_asking_makes_no_database(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(config, "forget", 5) == 0
    assert run(config, "export", 5) == 0
    assert "Nothing is kept of 5" in capsys.readouterr().out
    assert not (tmp_path / "data").exists()


def test_a_file_that_cannot_be_written(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "data")
    assert run(config, "export", OWNER, "--output", tmp_path / "no" / "where.json") == 1
    assert capsys.readouterr().err.count("\n") == 1


async def test_somebody_is_forgotten_while_the_bot_runs(world: World, tmp_path: Path) -> None:
    config = tmp_path / "live.toml"
    config.write_text(f'data_dir = "{world.settings.data_dir}"\n')
    await world.imagine("a done one", steps=1)
    await world.alice.slash(world.channel, "animate", image=("a.png", picture()), steps=40)
    await world.until(lambda: world.query("select 1 from jobs where state = 'running'"))
    assert await asyncio.to_thread(run, config, "forget", world.alice.id) == 0
    assert world.query("select * from jobs") == []
    await world.until(lambda: not world.bot.studio.busy)
    assert files(world) == []
    assert world.query("select * from users") == []
    # The bot lives on, for the one who was forgotten as well.
    assert await world.imagine("a new one", steps=1)


def files(world: World) -> list[Any]:
    folders = [world.settings.data_dir / name for name in ("outputs", "uploads")]
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]
