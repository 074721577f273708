"""What the bot writes is its own account's alone, whatever the umask; models are everybody's."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.__main__ import main
from bot.doctor import Status
from bot.doctor.privacy import check_privacy, make_private
from bot.lease import DataFolderLease
from bot.operations.logs import configure_logging
from bot.settings import Settings
from bot.store import Store, restore_database
from engine.checkpoints.folder.atomic_dir import atomic_dir
from tests.bot.conftest import make_world, picture
from tests.bot.store.test_backup import with_files
from tests.bot.test_command_line import toml

pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX'")

ROOT = Path(__file__).resolve().parents[2]
UMASKS = (0o000, 0o022, 0o077)


@contextmanager
def under(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def open_to_others(folder: Path) -> list[str]:
    """The folder and what is in it, as far as other accounts have a right to it."""
    everything = [folder, *folder.rglob("*")]
    return [f"{path} {mode(path):o}" for path in everything if mode(path) & 0o077]


@pytest.mark.parametrize("mask", UMASKS)
async def test_everything_about_people_is_private(
    overrides: dict[str, Any], tmp_path: Path, mask: int
) -> None:
    with under(mask):
        async with make_world(Settings.load(overrides=overrides)) as world:
            await world.alice.slash(world.channel, "imagine", prompt="a cat", format="gif")
            delivered = "select id from jobs where state = 'delivered'"
            await world.until(lambda: world.query(delivered))
            result = await world.alice.slash(world.channel, "animate", image=("a.png", picture()))
            await world.clip(result.response.id)
            data = world.settings.data_dir
            names = {path.suffix for path in data.rglob("*") if path.is_file()}
            assert {".mp4", ".json", ".gif", ".db", ".id"} <= names, names
            assert (data / "floor33.db-wal").exists()
            assert open_to_others(data) == []
            config = tmp_path / "bot.toml"
            config.write_text(f'data_dir = "{data}"\n')
            assert main(["--config", str(config), "backup", str(tmp_path / "copy.db")]) == 0
    assert mode(tmp_path / "copy.db") == 0o600


@pytest.mark.parametrize("mask", UMASKS)
async def test_what_is_restored_is_private(tmp_path: Path, mask: int) -> None:
    async with await Store.open(tmp_path / "data" / "floor33.db") as store:
        await with_files(store)
        await store.backup(tmp_path / "copy.db")
    with under(mask):
        restored = restore_database(tmp_path / "copy.db", tmp_path / "new" / "floor33.db")
    assert restored.files == 2
    for path in (tmp_path / "new").rglob("*"):
        assert path.is_dir() or mode(path) == 0o600, path
    assert mode(tmp_path / "new") == 0o700


@pytest.mark.parametrize("mask", UMASKS)
async def test_the_note_of_who_works_on_a_folder_is_private(tmp_path: Path, mask: int) -> None:
    with under(mask):
        async with await Store.open(tmp_path / "floor33.db") as store:
            await DataFolderLease(tmp_path).acquire(store)
    assert mode(tmp_path / "bot.id") == 0o600


@pytest.mark.parametrize("mask", UMASKS)
def test_the_log_and_its_older_files_are_private(tmp_path: Path, mask: int) -> None:
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    logger.handlers.clear()
    wanted = {"file": str(tmp_path / "logs" / "bot.log"), "max_mb": 1, "keep": 2}
    try:
        with under(mask):
            configure_logging(Settings.load(overrides={"log": wanted}), with_file=True)
            for _ in range(25):
                logger.warning("x" * 100_000)
    finally:
        for handler in logger.handlers:
            handler.close()
        logger.handlers[:] = handlers
        logger.setLevel(level)
    modes = {path.name: mode(path) for path in (tmp_path / "logs").iterdir()}
    assert modes == {"bot.log": 0o600, "bot.log.1": 0o600, "bot.log.2": 0o600}
    assert mode(tmp_path / "logs") == 0o700


def test_a_command_gives_the_process_its_umask_back(tmp_path: Path) -> None:
    config = tmp_path / "bot.toml"
    config.write_text(f'data_dir = "{tmp_path / "data"}"\n')
    with under(0o022):
        main(["--config", str(config), "backup", str(tmp_path / "copy.db")])
        assert os.umask(0o022) == 0o022


def test_models_are_readable_as_the_umask_says(tmp_path: Path) -> None:
    with under(0o022), atomic_dir(tmp_path / "data" / "models" / "x", 1) as folder:
        (folder / "unet.safetensors").write_bytes(b"weights")
    found = tmp_path / "data" / "models" / "x"
    assert (mode(found), mode(found / "unet.safetensors")) == (0o755, 0o644)


@pytest.mark.parametrize(("mask", "wanted"), [("022", 0o644), ("077", 0o600), ("002", 0o664)])
def test_a_clip_of_the_command_line_is_as_the_umask_says(
    models: Path, tmp_path: Path, mask: str, wanted: int
) -> None:
    clip = tmp_path / "clip.mp4"
    model = ("--model", "tiny-t2v", "--model-dir", f"tiny-t2v={models / 'tiny-t2v'}")
    words = (*model, "--prompt", "a cat", "--steps", "1")
    done = subprocess.run(
        [sys.executable, "-m", "engine", "generate", *words, "--output", str(clip)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        umask=int(mask, 8),
    )
    assert done.returncode == 0, done.stderr
    assert mode(clip) == wanted


# ------------------------------------------------------------- what older versions left


@pytest.fixture
def left(tmp_path: Path, overrides: dict[str, Any]) -> Settings:
    """A data folder as an older version made it."""
    overrides["log"] = {"file": str(tmp_path / "bot.log")}
    settings = Settings.load(overrides=overrides)
    with under(0o022):
        for name in ("floor33.db-wal", "bot.id", "outputs/2026-01/a.mp4", "uploads/ab"):
            file = settings.data_dir / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"of an older version")
        (settings.data_dir / "models" / "x").mkdir(parents=True)
        (settings.data_dir / "models" / "x" / "floor33.json").write_text("{}")
        (tmp_path / "bot.log").write_text("a line")
        (tmp_path / "bot.log.1").write_text("an older line")
    return settings


def test_what_others_can_read_is_told_and_mended_on_request(left: Settings, tmp_path: Path) -> None:
    found = check_privacy(left)
    assert found.status is Status.WARN
    assert found.advice is not None
    assert "doctor --fix" in found.advice
    assert str(left.data_dir) in found.detail
    make_private(left)
    assert check_privacy(left).status is Status.OK
    assert mode(left.data_dir) == 0o700
    assert mode(left.data_dir / "outputs" / "2026-01" / "a.mp4") == 0o600
    assert mode(tmp_path / "bot.log.1") == 0o600
    assert mode(left.data_dir / "models" / "x" / "floor33.json") == 0o644


def test_nobody_gets_past_a_folder_that_is_private(left: Settings, tmp_path: Path) -> None:
    left.data_dir.chmod(0o700)
    (tmp_path / "bot.log").chmod(0o600)
    assert "bot.log.1" in check_privacy(left).detail
    (tmp_path / "bot.log.1").chmod(0o600)
    assert check_privacy(left).status is Status.OK


def test_the_doctor_mends_it(
    left: Settings, overrides: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (left.data_dir / "floor33.db-wal").unlink()
    for trace in ("bot.id", "outputs/2026-01/a.mp4", "uploads/ab"):
        (left.data_dir / trace).unlink()
    config = tmp_path / "bot.toml"
    config.write_text(toml(overrides))
    assert main(["--config", str(config), "doctor"]) == 0
    assert "doctor --fix" in capsys.readouterr().out
    assert main(["--config", str(config), "doctor", "--fix"]) == 0
    assert "only this account can read" in capsys.readouterr().out
    assert mode(left.data_dir) == 0o700
