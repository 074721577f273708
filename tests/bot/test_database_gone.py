"""The database or its disk goes away under a running bot: it says so, and accepts nothing more."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot.settings import Settings
from tests.bot.conftest import make_world
from tests.bot.test_command_line import toml
from tests.bot.test_job_commands import told
from tests.bot.wire import BOB, Interaction, Wire, wire

__all__ = ["wire"]  # a fixture

ROOT = Path(__file__).resolve().parents[2]
WORDS = ("database", "disk", "kept", "stored", "restart")


def _folder_removed(data: Path) -> None:
    shutil.rmtree(data)


def _folder_moved(data: Path) -> None:
    data.rename(data.with_name("elsewhere"))


def _database_moved(data: Path) -> None:
    for file in list(data.glob("floor33.db*")):
        file.rename(data.with_name(file.name))


def _database_removed(data: Path) -> None:
    for file in data.glob("floor33.db*"):
        file.unlink()


def _database_replaced(data: Path) -> None:
    copy = data / "copy.db"
    shutil.copy(data / "floor33.db", copy)
    copy.replace(data / "floor33.db")


ACCIDENTS = [_folder_removed, _folder_moved, _database_moved, _database_removed, _database_replaced]


def made(wire: Wire) -> None:
    wire.imagine()
    wire.until(lambda: wire.states() and set(wire.states()) == {"delivered"})


def kept_or_told(wire: Wire, asked: Interaction) -> bool:
    """Return True if who asked was told, or has the job after a restart."""
    wire.wait(lambda: wire.heard(asked), 5)
    heard = [text for text in wire.heard(asked) if any(word in text for word in WORDS)]
    wire.wait(lambda: not wire.bots.alive, 5)
    said = wire.errors()
    wire.bots.kill()
    wire.start()
    return bool(heard or said) or bool(wire.query("select id from jobs where seed = 77"))


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_nothing_is_accepted_that_cannot_be_kept(
    wire: Wire, accident: Callable[[Path], None]
) -> None:
    wire.start()
    made(wire)
    accident(wire.data)
    asked = wire.imagine(BOB, seed=77)
    assert kept_or_told(wire, asked)
    assert any("database" in line for line in wire.errors())


@pytest.mark.parametrize("accident", [_database_moved, _database_removed])
def test_a_database_that_was_removed_is_there_after_the_restart(
    wire: Wire, accident: Callable[[Path], None]
) -> None:
    wire.start()
    made(wire)
    accident(wire.data)
    wire.imagine(BOB)
    assert wire.wait(lambda: not wire.bots.alive, 20)
    wire.stopped()
    assert wire.states() == ["delivered"]
    wire.start()
    made(wire)


@pytest.mark.parametrize("accident", [_folder_removed, _database_removed, _database_replaced])
@pytest.mark.parametrize("way", ["command", "button"])
async def test_who_asks_is_told_and_the_bot_ends(
    overrides: dict[str, Any], accident: Callable[[Path], None], way: str
) -> None:
    with contextlib.suppress(ExceptionGroup):  # the simulation raises what the bot logged
        async with make_world(Settings.load(overrides=overrides)) as world:
            message = await world.imagine(steps=1)
            accident(world.settings.data_dir)
            if way == "command":
                answer = await world.alice.slash(world.channel, "imagine", prompt="more")
            else:
                answer = await world.alice.click(message, label="Re-roll")
            assert "database was taken away" in told(answer)
            await world.until(world.bot.is_closed)
            assert world.bot.failure is not None
            assert "its file" in str(world.bot.failure) or "its folder" in str(world.bot.failure)


@pytest.mark.parametrize("accident", [_folder_removed, _database_replaced])
def test_the_process_ends_with_code_1_for_its_service_manager(
    overrides: dict[str, Any], tmp_path: Path, accident: Callable[[Path], None]
) -> None:
    config = tmp_path / "bot.toml"
    config.write_text(toml(overrides))
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bot", "--config", str(config)],
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert "http://127.0.0.1:" in process.stdout.readline()
            accident(Path(overrides["data_dir"]))
            assert process.wait(60) == 1
        finally:
            process.kill()
            process.communicate()
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert said.count("the bot ends") == 1
    assert said.splitlines()[-1].startswith("floor33: database ")


def test_an_empty_database_beside_clips_is_not_taken_for_a_new_one(wire: Wire) -> None:
    wire.start()
    made(wire)
    wire.bots.kill()
    for end in ("-wal", "-shm"):
        (wire.data / f"floor33.db{end}").unlink(missing_ok=True)
    (wire.data / "floor33.db").write_bytes(b"")
    before = wire.log.stat().st_size
    wire.bots.start()
    assert wire.wait(lambda: not wire.bots.alive, 30)
    wire.stopped()
    line = wire.log.read_text()[before:].splitlines()[-1]
    assert line.startswith("floor33: database ")
    assert "restore --empty" in line
    assert "Traceback" not in wire.log.read_text()[before:]


def test_a_clip_that_cannot_be_recorded_for_a_moment_is_not_lost(wire: Wire) -> None:
    """A clip is recorded once an operator has mended the disk."""

    def no_more(size: int) -> None:
        # No file may grow beyond `size` bytes: an I/O error to SQLite, as a used up quota is.
        assert wire.bots.pid is not None
        _, most = resource.prlimit(wire.bots.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(wire.bots.pid, resource.RLIMIT_FSIZE, (size, most))

    def clips() -> list[Path]:
        return [file for file in wire.data.glob("outputs/*/*.mp4") if file.name[0] != "."]

    wire.start()
    wire.imagine(steps=60)
    wire.until(lambda: wire.states() == ["running"])
    deadline = time.monotonic() + 30
    while not clips() and time.monotonic() < deadline:
        time.sleep(0.0003)
    assert wire.bots.pid is not None
    os.kill(wire.bots.pid, signal.SIGSTOP)
    no_more(0)
    os.kill(wire.bots.pid, signal.SIGCONT)
    if wire.states() != ["running"]:
        pytest.skip("it was recorded before the disk failed")
    time.sleep(3)
    no_more(resource.RLIM_INFINITY)
    assert wire.wait(lambda: wire.states() == ["delivered"], 30), wire.errors()
