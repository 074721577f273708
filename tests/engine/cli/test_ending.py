"""A command that is told to end leaves nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def started(folder: Path, *before: str) -> subprocess.Popen[str]:
    """`engine generate` once it samples."""
    process = subprocess.Popen(
        [
            *before,
            *(sys.executable, "-m", "engine", "generate", "--model", "demo-t2v"),
            *("--prompt", "a red circle", "--steps", "100", "--output", str(folder / "clip.mp4")),
        ],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(folder.glob(".floor33-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(folder.glob(".floor33-*"))
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_nothing_stays_beside_the_output(tmp_path: Path, number: signal.Signals) -> None:
    process = started(tmp_path)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    assert said.endswith("Interrupted.\n")
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    """As under nohup."""
    process = started(tmp_path, "nohup")
    process.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert list(tmp_path.iterdir()) == []
