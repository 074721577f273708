"""How a command leaves its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")
ROOT = Path(__file__).resolve().parents[2]

WAITING = """
import sys, time
from command_line.process import guarded, run_process

def work():
    try:
        print("working", flush=True)
        time.sleep(600)
    finally:
        print("put away", flush=True)
    return 0

run_process(lambda: guarded(work))
"""

BUSY = """
import atexit, sys, threading, time
import torch
from command_line.process import run_process

def compute():
    square = torch.rand(1200, 1200)
    while True:
        square = square @ square / 600

def main():
    atexit.register(lambda: print("at exit", flush=True))
    for _ in range(2):
        threading.Thread(target=compute, daemon=True).start()
    time.sleep(0.2)
    print("buffered")
    return 3

run_process(main)
"""

ASYNCIO = """
import asyncio
from command_line.process import guarded, run_process

async def work():
    try:
        print("working", flush=True)
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(0)
        print("put away", flush=True)

run_process(lambda: guarded(lambda: asyncio.run(work())))
"""


def start(script: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize("script", [WAITING, ASYNCIO], ids=["plain", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_in_order(script: str, number: signal.Signals) -> None:
    process = start(script)
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (128 + number, "put away\n", "Interrupted.\n")


def test_sigterm_ends_a_command_for_which_ctrl_c_is_ignored() -> None:
    process = start(WAITING, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (128 + signal.SIGTERM, "put away\n")


def test_a_hang_up_that_is_ignored_stays_so() -> None:
    process = start(WAITING, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_threads_inside_torch_do_not_abort_the_end() -> None:
    done = start(BUSY)
    out, err = done.communicate(timeout=120)
    assert (done.returncode, out, err) == (3, "buffered\nat exit\n", "")


def test_messages_that_nobody_reads_do_not_end_the_work() -> None:
    script = """
import sys
from command_line.process import run_process

def main():
    for number in range(2000):
        print("news", number, file=sys.stderr)
    print("done")
    return 0

run_process(main)
"""
    process = start(script)
    assert process.stderr is not None
    process.stderr.close()
    process.stderr = None
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "done\n")
