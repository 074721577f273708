"""A disk without a free byte, or one that fails: who asks is told, and nothing said is untrue."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bot.wire import ALICE, Wire, wire, wired

__all__ = ["wire"]

OURS = "went wrong on our side"


@pytest.fixture
def small_disk(tmp_path: Path, models: Path) -> Iterator[Wire]:
    """A disk of 24 MB for the data folder; needs the right to mount."""
    data = tmp_path / "small"
    data.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(data)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk")
    extra = {name: str(models / name) for name in ("tiny-t2v", "tiny-i2v")}
    settings = {"data_dir": str(data), "models": {"extra": extra}}
    try:
        with wired(tmp_path, settings, "[limits]\nmin_free_mb = 0\n") as made:
            yield made
    finally:
        subprocess.run(["umount", "-l", str(data)], check=False)


def fill(folder: Path) -> Path:
    """Leave no byte free."""
    file = folder / "fill"
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as end:
        while True:
            end.write(b"x" * 4096)
    return file


def limit_files(wire: Wire, size: int) -> None:
    """Let no file of the bot grow beyond `size` bytes.

    SQLite calls it an I/O error, as it does a quota that is used up or a network disk that fails.
    """
    assert wire.bots.pid is not None
    _, most = resource.prlimit(wire.bots.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(wire.bots.pid, resource.RLIMIT_FSIZE, (size, most))


def finished_files(wire: Wire) -> list[Path]:
    return [file for file in wire.data.glob("outputs/*/*.mp4") if file.name[0] != "."]


def test_commands_on_a_full_disk_are_told_that_it_is_full(small_disk: Wire) -> None:
    small_disk.start()
    small_disk.imagine()
    small_disk.until(lambda: small_disk.states() == ["delivered"])
    (row,) = small_disk.query(
        "select g.id, message_id from generations g join jobs j on j.id = g.job_id"
    )
    fill(small_disk.data)
    button = f"floor33:reroll:{row['id']}"
    for asked in (small_disk.imagine(), small_disk.discord.click(ALICE, button, row["message_id"])):
        assert asked is not None
        small_disk.until(lambda asked=asked: len(small_disk.heard(asked)) > 1)
        assert "full" in small_disk.heard(asked)[-1]
    assert "Traceback" not in small_disk.said()


def test_a_clip_that_a_full_disk_did_not_take_is_said_to_have_failed(small_disk: Wire) -> None:
    """Also while the same disk takes no row; and it stays so once there is room."""
    small_disk.start()
    small_disk.imagine(steps=40)
    small_disk.until(lambda: small_disk.states() == ["running"])
    filler = fill(small_disk.data)
    small_disk.until(lambda: "the disk is full" in small_disk.said())
    shown = small_disk.discord.state.shown
    small_disk.until(lambda: any("full" in message.content for message in shown()), 20)
    filler.unlink()
    small_disk.until(lambda: small_disk.states() == ["failed"], 75)
    assert "❌" in shown()[0].content


def test_delete_on_a_full_disk_makes_room(small_disk: Wire) -> None:
    """What frees the disk must not need room on it."""
    small_disk.start()
    small_disk.imagine()
    small_disk.until(lambda: small_disk.states() == ["delivered"])
    (row,) = small_disk.query(
        "select g.id, message_id from generations g join jobs j on g.job_id = j.id"
    )
    fill(small_disk.data)
    button = f"floor33:delete:{row['id']}"
    clicked = small_disk.discord.click(ALICE, button, row["message_id"])
    assert clicked is not None
    small_disk.until(lambda: not finished_files(small_disk), 15)
    assert not any(OURS in sentence for sentence in small_disk.heard(clicked))
    assert row["message_id"] not in small_disk.discord.state.messages


def test_a_clip_that_cannot_be_recorded_for_a_moment_is_not_lost(wire: Wire) -> None:
    """What an operator mends within a minute costs nobody the clip that is on the disk."""
    wire.start()
    wire.imagine(steps=60)
    wire.until(lambda: wire.states() == ["running"])
    assert wire.bots.pid is not None
    deadline = time.monotonic() + 30
    while not finished_files(wire) and time.monotonic() < deadline:
        time.sleep(0.0003)
    os.kill(wire.bots.pid, signal.SIGSTOP)
    limit_files(wire, 0)
    os.kill(wire.bots.pid, signal.SIGCONT)
    if wire.states() != ["running"]:
        pytest.skip("it was recorded already")
    time.sleep(3)
    limit_files(wire, resource.RLIM_INFINITY)
    wire.until(lambda: wire.states() == ["delivered"], 30)
    assert len([message for message in wire.discord.state.shown() if message.clip]) == 1


def test_what_was_said_to_have_failed_does_not_come_back(wire: Wire) -> None:
    """The row could not be written any more before the bot was killed."""
    wire.start()
    wire.imagine(steps=60)
    wire.until(lambda: wire.states() == ["running"])
    limit_files(wire, 40_000)
    shown = wire.discord.state.shown
    wire.until(lambda: any("❌" in m.content or m.clip for m in shown()))
    said = shown()[0].content
    wire.bots.kill()
    wire.start()
    wire.wait(lambda: wire.states() in (["delivered"], ["failed"]), 30)
    assert ("❌" in said) == ("❌" in shown()[0].content)


def test_a_command_that_cannot_be_stored_says_why(wire: Wire) -> None:
    wire.start()
    limit_files(wire, 0)
    asked = wire.imagine()
    wire.until(lambda: len(wire.heard(asked)) > 1, 20)
    assert OURS not in wire.heard(asked)[-1]
    assert "Try again later" in wire.heard(asked)[-1]
