"""The bot as a service: the whole of it, in a simulated Discord, looked at from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from bot.lifecycle.requirements import explain
from bot.operations.http import OperationsServerError
from bot.operations.shutdown import RESTARTING, Shutdown
from bot.settings import Settings
from bot.signals import GracefulStop, until_signal
from bot.store import JobState, Store
from engine.serving import Engine
from tests.bot.conftest import World, make_world
from tests.bot.store.examples import A_JOB, rendered

ENGINE = {"devices": ["cpu"], "threads": 1}


async def get(port: int, path: str) -> tuple[int, str]:
    address = f"http://127.0.0.1:{port}{path}"
    async with aiohttp.ClientSession() as session, session.get(address) as response:
        return response.status, await response.text()


async def test_a_running_bot_is_healthy_ready_and_measured(
    overrides: dict[str, Any], unused_tcp_port: int
) -> None:
    overrides["operations"] = {"port": unused_tcp_port}
    async with make_world(Settings.load(overrides=overrides)) as world:
        assert (await get(unused_tcp_port, "/healthz"))[0] == 200
        status, report = await get(unused_tcp_port, "/readyz")
        assert status == 200, report
        await world.imagine(steps=1)
        text = (await get(unused_tcp_port, "/metrics"))[1]
        assert 'floor33_queue_jobs{state="waiting"} 0.0' in text
        assert "floor33_gateway_connected 1.0" in text
        writes = next(
            float(line.split()[1])
            for line in text.splitlines()
            if line.startswith("floor33_database_write_wait_seconds_count ")
        )
        assert writes >= 4  # accepted, started, rendered, delivered
        world.bot.shutdown.begun = True
        assert (await get(unused_tcp_port, "/readyz"))[0] == 503
    with pytest.raises(aiohttp.ClientConnectionError):
        await get(unused_tcp_port, "/healthz")


def test_what_keeps_the_operations_from_starting_is_one_line() -> None:
    assert explain(OperationsServerError("port 1: taken")) == "port 1: taken"


async def test_before_its_end_the_bot_finishes_what_runs_and_takes_no_more(
    overrides: dict[str, Any],
) -> None:
    overrides["engine"] = ENGINE | {"grace_s": 60}
    async with make_world(Settings.load(overrides=overrides)) as world:
        await world.alice.slash(world.channel, "imagine", prompt="a cat", steps=30)
        await world.bob.slash(world.channel, "imagine", prompt="a dog", steps=30)
        await world.until(lambda: states(world).get("a cat") == "running")
        drained = asyncio.create_task(world.bot.drain())
        await world.until(lambda: world.bot.shutdown.begun)
        refused = await world.bob.slash(world.channel, "imagine", prompt="a fish")
        answers = [refused.response, *refused.followups]
        assert any(answer and RESTARTING in str(answer.content) for answer in answers)
        await world.until(drained.done)
        assert states(world) == {"a cat": "delivered", "a dog": "queued"}


class Held:
    """The part of an engine that a shutdown needs."""

    def __init__(self) -> None:
        self.held = False

    def hold(self) -> None:
        self.held = True


@pytest.mark.parametrize("grace_s", [0.0, 0.05])
async def test_what_takes_longer_than_the_grace_is_left_to_the_next_start(
    tmp_path: Path, grace_s: float
) -> None:
    engine, shutdown = Held(), Shutdown()
    async with await Store.open(tmp_path / "floor33.db") as store:
        job = await store.create_job(A_JOB)
        await store.set_job_state(job.id, JobState.RUNNING)
        assert not await shutdown.drain(cast(Engine, engine), store, grace_s)
        assert await store.requeue_running() == 1
    assert shutdown.begun
    assert engine.held


async def test_only_work_that_a_moment_may_finish_is_waited_for(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "floor33.db") as store:
        await store.create_job(A_JOB)  # queued
        job, _ = await rendered(store)
        await store.note_undelivered(job.id, "nobody can be reached")
        assert await store.count_active_jobs() == 0
        assert await Shutdown().drain(cast(Engine, Held()), store, 60)
        await rendered(store)  # being delivered
        assert await store.count_active_jobs() == 1


def states(world: World) -> dict[str, str]:
    return {row["prompt"]: row["state"] for row in world.query("select * from jobs")}


SCRIPT = """
import asyncio, sys
from bot.__main__ import _run
from bot.signals import GracefulStop

end = GracefulStop()

async def prepare():
    print("preparing", flush=True)
    try:
        await asyncio.sleep(float(sys.argv[1]))
    finally:
        print("prepared", flush=True)

async def work():
    end.prepare = prepare
    print("working", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("ended", flush=True)

sys.exit(_run(work(), end))
"""


def start(seconds: float) -> subprocess.Popen[str]:
    root = str(Path(__file__).resolve().parents[3])
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(seconds)],
        env=os.environ | {"PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_signals_end_the_bot_in_peace_or_at_once() -> None:
    in_peace, hurried, at_once = start(0.05), start(600), start(600)
    for process in (in_peace, hurried, at_once):
        assert line(process) == "working"
    in_peace.send_signal(signal.SIGTERM)
    assert [line(in_peace) for _ in range(3)] == ["preparing", "prepared", "ended"]
    hurried.send_signal(signal.SIGTERM)
    assert line(hurried) == "preparing"
    hurried.send_signal(signal.SIGTERM)
    assert sorted(line(hurried) for _ in range(2)) == ["ended", "prepared"]
    at_once.send_signal(signal.SIGINT)
    assert line(at_once) == "ended"
    for process in (in_peace, hurried, at_once):
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")


async def test_work_that_ends_by_itself_needs_no_signal() -> None:
    async def work() -> None:
        await asyncio.sleep(0)

    await until_signal(work(), GracefulStop())
