"""An engine that starts Ray by itself, and leaves nothing of it."""

import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from engine.serving import Engine, Finished, GenerationRequest, Started
from tests.engine.serving.ray_bench import Gates

pytest.importorskip("ray")

MakeEngine = Callable[..., Engine]
MakeRequest = Callable[..., GenerationRequest]


def own_processes() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


@pytest.mark.usefixtures("one_ray_at_a_time")
async def test_an_engine_starts_and_ends_ray_itself(
    make_engine: MakeEngine,
    request_for: MakeRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name in ("RAY_ADDRESS", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.delenv(name, raising=False)
    # A cluster that this machine may be a node of is found through a file in this folder.
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path.parent))
    before = set(own_processes())
    engine = make_engine(backend="ray", ray_workers=1, devices=None)
    assert engine.devices == ("ray:0",)
    assert [status.state for status in engine.status()] == ["starting"]
    assert set(own_processes()) == before, "nothing is started before it is needed"
    engine.warm_up(["tiny-t2v"])

    job = engine.submit(request_for())
    events = [event async for event in job.events()]
    assert Started("ray:0") in events
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.result.path.is_file()
    assert engine.kind_of("ray:0") == "cpu"
    (status,) = engine.status()
    assert (status.device, status.jobs_done) == ("ray:0", 1)

    started = [one for one in own_processes() if one not in before]
    assert started
    servers = [one for one in started if one.name() in ("gcs_server", "raylet")]
    told = [one.environ().get("RAY_USAGE_STATS_ENABLED") for one in servers]
    assert set(told) == {"0"}
    assert "RAY_USAGE_STATS_ENABLED" not in os.environ
    await engine.close()
    Gates(tmp_path / "gates").wait(
        lambda: not any(one.is_running() and one.status() != "zombie" for one in started),
        "Ray's processes to end",
    )
    assert capfd.readouterr().out == "", "the preview's address is the only thing there"
