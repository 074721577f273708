"""Workers in a Ray cluster: a real one of two processors on this machine, with the tiny model."""

import json
import logging
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.serving import (
    Cancelled,
    Event,
    Failed,
    FailureReason,
    Finished,
    Progress,
    Queued,
    Started,
    Terminal,
)
from engine.serving.ray.pool import RayWorkerPool
from tests.engine.serving.ray_bench import RayBench
from tests.engine.serving.workbench import Workbench

ray = pytest.importorskip("ray")

NATIVE, WIDE = 8, 12  # latents of clips 32 and 48 pixels wide


@pytest.fixture(scope="module")
def cluster(one_ray_at_a_time: None) -> Iterator[None]:
    """A Ray of two processors, which the crew joins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        ray.init(
            address="local",
            num_cpus=2,
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=80 * 2**20,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def bench(tiny_t2v: Path, tmp_path_factory: pytest.TempPathFactory) -> RayBench:
    folder = tmp_path_factory.mktemp("ray")
    models = {
        name: Path(shutil.copytree(tiny_t2v, folder / "models" / name))
        for name in ("tiny-t2v", "removed")
    }
    return RayBench(models, folder)


@pytest.fixture(scope="module")
def crew(cluster: None, bench: RayBench) -> Iterator[RayWorkerPool]:
    """Two actors for all tests of this file."""
    with bench.crew(ray_workers=2, previews_per_job=2) as crew:
        yield crew


@pytest.fixture(autouse=True)
def _fresh_gates(bench: RayBench) -> Iterator[None]:
    bench.gates.clear()
    yield
    bench.gates.clear()


def local_clip(tiny_t2v: Path, folder: Path, **changes: object) -> bytes:
    """The file that a worker of this machine makes."""
    bench = Workbench({"tiny-t2v": tiny_t2v}, folder)
    (end,) = bench.run([bench.job("local", **changes)])
    assert isinstance(end, Finished)
    return end.result.path.read_bytes()


def kinds(events: list[Event]) -> list[type[Event]]:
    """What came in which order, without repetitions."""
    seen = [type(event) for event in events]
    return [one for index, one in enumerate(seen) if seen[index - 1 : index] != [one]]


def test_two_actors_render_at_the_same_time_what_a_local_worker_does(
    crew: RayWorkerPool, bench: RayBench, tiny_t2v: Path, tmp_path: Path
) -> None:
    with bench.gates.held(NATIVE):
        jobs = [bench.job("one"), bench.job("two", seed=8)]
        # None of them can go on, so they are in the network together.
        bench.gates.wait(lambda: len(bench.gates.runs(NATIVE)) == 2, "two processes at work")
        assert os.getpid() not in bench.gates.runs(NATIVE)
        running = {job for status in crew.status() for job in status.jobs}
        assert running == {"one", "two"}
    ends = [seen.end() for seen in jobs]
    started = [event for seen in jobs for event in seen.events if isinstance(event, Started)]
    assert {event.device for event in started} == {"ray:0", "ray:1"}
    assert crew.kind_of("ray:0") == "cpu"
    for seen, end in zip(jobs, ends, strict=True):
        assert isinstance(end, Finished)
        assert kinds(seen.events) == [Queued, Started, Progress, Finished]
        assert seen.steps == [1, 2, 3]
        assert any(event.preview for event in seen.events if isinstance(event, Progress))
        assert end.result.path.parent.parent == bench.out
        facts = json.loads(end.result.sidecar.read_text())
        assert (facts["job_id"], facts["seed"]) == (seen.job.id, seen.job.settings.params.seed)
    first, second = (end.result.path.read_bytes() for end in ends if isinstance(end, Finished))
    assert first == local_clip(tiny_t2v, tmp_path)
    assert first != second
    assert bench.queue.view().running == ()


def test_a_killed_actor_costs_no_job(
    crew: RayWorkerPool, bench: RayBench, tiny_t2v: Path, tmp_path: Path
) -> None:
    with bench.gates.held(WIDE):
        seen = bench.job("victim", width=48)
        bench.gates.wait(lambda: bench.gates.runs(WIDE), "a process at work")
        (pid,) = bench.gates.runs(WIDE)
        os.kill(pid, signal.SIGKILL)
        bench.gates.wait(lambda: len(bench.gates.runs(WIDE)) == 2, "another process at work")
    end = seen.end()
    assert isinstance(end, Finished)
    assert end.result.path.read_bytes() == local_clip(tiny_t2v, tmp_path, width=48)
    order = [Queued, Started, Queued, Started, Progress, Finished]
    assert kinds(seen.events) == order
    assert len([event for event in seen.events if isinstance(event, Terminal)]) == 1
    assert sum(status.replaced for status in crew.status()) == 1
    assert sum(status.jobs_done for status in crew.status()) == 3


def test_cancelling_ends_a_job_within_a_step(crew: RayWorkerPool, bench: RayBench) -> None:
    with bench.gates.held(WIDE):
        seen = bench.job("unwanted", width=48, steps=60)
        bench.gates.wait(lambda: bench.gates.runs(WIDE), "a process at work")
        seen.job.cancel()
        heard = bench.gates.folder / "heard-unwanted"
        bench.gates.wait(heard.exists, "the actor to hear of it")
    assert seen.end() == Cancelled()
    assert sum(bench.gates.runs(WIDE).values()) == 1
    assert not [name for name in bench.files() if name.startswith("unwanted")]


def test_a_model_that_is_not_on_the_actors_machine_is_a_clear_failure(
    crew: RayWorkerPool, bench: RayBench, caplog: pytest.LogCaptureFixture
) -> None:
    """The engine has seen the folder; it is gone before the actor looks."""
    folder = bench.catalog.get("removed").path
    with bench.gates.held(WIDE):
        blockers = [bench.job(f"blocker-{index}", width=48) for index in range(2)]
        bench.gates.wait(lambda: all(status.jobs for status in crew.status()), "both to be busy")
        seen = bench.job("missing", model="removed")
        shutil.rmtree(folder)
    end = seen.end()
    assert isinstance(end, Failed)
    assert end.reason is FailureReason.MODEL_UNAVAILABLE
    assert str(folder) not in end.message
    bench.gates.wait(lambda: "the same path on every machine" in caplog.text, "the actor's log")
    assert str(folder) in caplog.text
    for blocker in blockers:
        assert isinstance(blocker.end(), Finished)
