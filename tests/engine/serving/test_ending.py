"""Programs that end while workers load or render: no worker outlives the engine's end."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.serving import Engine

ROOT = Path(__file__).resolve().parents[3]
MakeEngine = Callable[..., Engine]

FORGOTTEN = """
import sys, time
from pathlib import Path
from engine.serving import Engine, EngineSettings, GenerationRequest

model, output, act, seconds = sys.argv[1:]
engine = Engine(
    EngineSettings(output_dir=Path(output), devices=("cpu",), model_dirs={"tiny": Path(model)})
)
if act == "warm":
    engine.warm_up(["tiny"])
else:
    for number in range(20):
        engine.submit(
            GenerationRequest(job_id=str(number), model="tiny", prompt="a", seed=1, steps=60)
        )
time.sleep(float(seconds))
"""


def workers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("engine-")]


async def test_nothing_is_started_after_the_end(make_engine: MakeEngine) -> None:
    engine = make_engine()
    before = workers()
    await engine.close()
    engine.warm_up(["tiny-t2v"])  # as by a thread that was still reading weight files
    assert workers() == before
    assert {worker.state for worker in engine.status()} == {"starting"}


async def test_the_end_does_not_wait_for_models_that_nobody_needs_any_more(
    make_engine: MakeEngine,
    tiny_t2v: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loading, go_on = threading.Event(), threading.Event()

    def load(*_: object) -> None:
        loading.set()
        assert go_on.wait(60)

    monkeypatch.setattr("engine.serving.execution.pipeline_cache.PipelineCache.get", load)
    second = Path(shutil.copytree(tiny_t2v, tmp_path / "second"))
    engine = make_engine(model_dirs={"first": tiny_t2v, "second": second})
    engine.warm_up(["first", "second"])
    assert loading.wait(60)
    loading.clear()
    engine._queue.close()
    go_on.set()
    with caplog.at_level(logging.INFO):
        await engine.close()
    assert not loading.is_set(), "another model was loaded"


@pytest.mark.parametrize("act", ["warm", "render"])
@pytest.mark.parametrize("seconds", [0.0, 0.1])
def test_a_program_that_forgot_to_close_ends_without_an_abort(
    act: str, seconds: float, tiny_t2v: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORGOTTEN, tiny_t2v, tmp_path / "clips", act, str(seconds)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    # A model that was being loaded may say that it could not be.
    assert done.returncode == 0, done.stderr
    assert "terminate called" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.part*"))
