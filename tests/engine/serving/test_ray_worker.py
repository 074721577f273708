"""The engine's side of an actor: lost, silent, hung or late ones; batches; the end."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from engine.models import VideoUNet
from engine.serving import (
    Cancelled,
    EngineSettings,
    Failed,
    FailureReason,
    Finished,
    Queued,
    Started,
    Terminal,
)
from engine.serving.backends import default_backends
from engine.serving.engine import Engine
from engine.serving.execution.failures import hung
from engine.serving.ray import backoff
from engine.serving.ray.backoff import ActorBackoff
from engine.serving.ray.crash_counter import MOST_LOST
from engine.serving.ray.protocol import JobOrder
from engine.settings import EngineSettingsError
from tests.engine.serving.near import NearActor, NearBench
from tests.engine.serving.workbench import Blocked, Seen, before


@pytest.fixture
def bench(tiny_t2v: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NearBench]:
    monkeypatch.setattr(backoff, "FIRST_S", 0.01)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield NearBench({"tiny-t2v": tiny_t2v}, tmp_path)
    until(lambda: not list(tmp_path.glob("floor33-*")), "the actors' folders to go")


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def terminal(seen: Seen) -> list[Terminal]:
    return [event for event in seen.events if isinstance(event, Terminal)]


def test_a_job_goes_there_and_its_clip_comes_back(bench: NearBench) -> None:
    with bench.near_worker() as worker:
        assert worker.status().state == "starting"
        worker.warm_up([bench.catalog.get("tiny-t2v")])
        worker.start()
        seen = bench.job("a")
        end = seen.end()
        assert isinstance(end, Finished)
        assert end.result.path.parent.parent == bench.out
        assert Started("ray:0") in seen.events
        assert seen.steps == [1, 2, 3]
        ((name, hello),) = bench.hellos
        assert (name, hello.device, hello.kind, hello.pid) == ("ray:0", "cpu", "cpu", os.getpid())
        until(lambda: worker.status().state == "idle", "the news of it")
        status = worker.status()
        assert (status.device, status.jobs_done, status.replaced) == ("ray:0", 1, 0)
        assert [model.name for model in status.models] == ["tiny-t2v"]
        assert bench.session.options[0]["num_cpus"] == 1
    assert bench.files() == ["a.json", "a.mp4"]
    assert worker.status().state == "stopped"


def test_the_first_of_a_shape_goes_alone_and_then_as_many_as_the_actor_takes(
    bench: NearBench,
) -> None:
    seen = bench.jobs(5)
    counts: list[int] = []
    with (
        before(VideoUNet, lambda _, inputs: counts.append(len(inputs[0]))),
        bench.near_worker(max_batch=3) as worker,
    ):
        worker.start()
        ends = [one.end() for one in seen]
    assert [type(end) for end in ends] == [Finished] * 5
    assert counts == [2, 2, 2, 6, 6, 6, 2, 2, 2]


def test_more_than_the_actor_takes_at_once_is_made_in_parts(bench: NearBench) -> None:
    """What the engine has learned of a lost actor may be too much for the next."""
    with bench.near_worker(max_batch=2) as worker:
        worker.start()
        bench.job("first").end()
        worker._limits = dict.fromkeys(worker._limits, 3)
        block = Blocked()
        with before(VideoUNet, block.act):
            bench.job("wide", width=48)
            assert block.reached.wait(60)
            seen = bench.jobs(3)
            block.go_on.set()
        assert [type(one.end()) for one in seen] == [Finished] * 3


class Deadly:
    """Kills the actor that runs a network on wide latents."""

    def __init__(self, bench: NearBench) -> None:
        self.bench = bench
        self.times = 0

    def act(self, module: nn.Module, inputs: Any) -> None:
        if inputs[0].shape[-1] == 12:
            self.times += 1
            self.bench.process.die()


def test_a_job_that_loses_every_actor_is_given_up(bench: NearBench) -> None:
    deadly = Deadly(bench)
    with before(VideoUNet, deadly.act), bench.near_worker() as worker:
        worker.start()
        poison = bench.job("poison", width=48)
        healthy = bench.job("healthy")
        end = poison.end()
        assert isinstance(end, Failed)
        assert end.reason is FailureReason.WORKER_LOST
        assert "3 machines" in end.message
        assert isinstance(healthy.end(), Finished)
        assert worker.status().replaced == MOST_LOST
        assert worker.status().failures == {FailureReason.WORKER_LOST: 1}
    assert len(terminal(poison)) == 1
    assert len([event for event in poison.events if isinstance(event, Started)]) <= MOST_LOST
    assert bench.files() == ["healthy.json", "healthy.mp4"]


def test_the_jobs_of_a_lost_actor_keep_their_order(bench: NearBench) -> None:
    block = Blocked()
    with before(VideoUNet, block.act), bench.near_worker() as worker:
        worker.start()
        first = bench.job("a1", owner="a")
        assert block.reached.wait(60)
        waiting = [bench.job("a2", owner="a"), bench.job("b1", owner="b")]
        bench.queue.pause()
        bench.process.die()
        until(lambda: len(bench.queue.view().waiting) == 3, "the job to be put back")
        assert [job.id for job in bench.queue.view().waiting] == ["a1", "b1", "a2"]
        block.go_on.set()
        assert not terminal(first)
    assert [one.end() for one in (first, *waiting)] == [Cancelled()] * 3


def test_an_idle_actor_that_dies_is_replaced_before_the_next_job(bench: NearBench) -> None:
    with bench.near_worker() as worker:
        worker.start()
        until(lambda: worker.status().state == "idle", "the first actor")
        bench.process.die()
        until(lambda: len(bench.hellos) == 2, "the second actor")
        seen = bench.job("a")
        assert isinstance(seen.end(), Finished)
        assert worker.status().replaced == 1
    # It may have met the dead one and waited again, but has lost nothing.
    assert bench.losses.count(seen.job) == 1


def test_an_actor_that_cannot_be_had_is_asked_for_again(
    bench: NearBench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.session.refuse = 2
    with bench.near_worker() as worker:
        worker.start()
        assert isinstance(bench.job("a").end(), Finished)
        assert worker.status().replaced == 0
    assert caplog.text.count("could not be started: the head does not answer") == 2


def test_an_actor_that_is_silent_is_given_up(bench: NearBench) -> None:
    with bench.near_worker(hang_after_s=1.0) as worker:
        worker.start()
        until(lambda: worker.status().state == "idle", "the first actor")
        bench.process.deaf = True
        until(lambda: len(bench.hellos) == 2, "the second actor")
        assert worker.status().replaced == 1
        assert bench.session.processes[0].dead.is_set()


class HungOnce(NearActor):
    """Says of its first job that it has hung."""

    others = 0

    def take(self, orders: Any) -> None:
        HungOnce.others += 1
        if HungOnce.others > 1:
            super().take(orders)
        else:
            for order in orders:
                self._job(order).publish(hung("sampling", 300))


def test_after_a_hang_the_actor_is_another_one(bench: NearBench) -> None:
    with bench.near_worker(HungOnce) as worker:
        worker.start()
        first, second = bench.job("first"), bench.job("second")
        end = first.end()
        assert isinstance(end, Failed)
        assert end.reason is FailureReason.HUNG
        assert isinstance(second.end(), Finished)
        assert len(bench.hellos) == 2
        assert worker.status().failures == {FailureReason.HUNG: 1}


class Broken(NearActor):
    """Does not understand what it is sent."""

    def take(self, orders: Any) -> None:
        raise TypeError(f"{len(orders)} orders")


def test_an_actor_that_refuses_a_job_is_given_up(bench: NearBench) -> None:
    with bench.near_worker(Broken) as worker:
        worker.start()
        end = bench.job("a").end()
    assert isinstance(end, Failed)
    assert end.reason is FailureReason.WORKER_LOST
    assert len(bench.session.processes) >= MOST_LOST


def test_a_full_disk_fails_the_job_before_it_is_sent(bench: NearBench) -> None:
    with bench.near_worker(min_free_mb=1_000_000) as worker:
        worker.start()
        seen = bench.job("a")
        end = seen.end()
    assert isinstance(end, Failed)
    assert end.reason is FailureReason.DISK_FULL
    assert all(isinstance(event, Queued | Failed) for event in seen.events)


def test_a_cancelled_job_is_not_put_back(bench: NearBench) -> None:
    block = Blocked()
    with before(VideoUNet, block.act), bench.near_worker() as worker:
        worker.start()
        seen = bench.job("a")
        assert block.reached.wait(60)
        bench.process.deaf = True  # so that it does not hear of it
        seen.job.cancel()
        bench.process.die()
        assert seen.end() == Cancelled()
        block.go_on.set()
        assert isinstance(bench.job("b").end(), Finished)
    assert bench.files() == ["b.json", "b.mp4"]


def test_a_waiting_part_of_a_batch_is_cancelled_at_once(bench: NearBench) -> None:
    with bench.near_worker(max_batch=1) as worker:
        worker.start()
        bench.job("first").end()
        worker._limits = dict.fromkeys(worker._limits, 2)
        holder, block = Blocked(), Blocked()
        with before(VideoUNet, holder.act):
            bench.job("holder", width=48, steps=1)
            assert holder.reached.wait(60)
            one, two = bench.job("one"), bench.job("two")
        with before(VideoUNet, block.act):
            holder.go_on.set()
            assert block.reached.wait(60)
            two.job.cancel()
            assert two.end() == Cancelled()
            assert not terminal(one)
            block.go_on.set()
        assert isinstance(one.end(), Finished)


def test_closing_cancels_what_runs_and_leaves_nothing(bench: NearBench) -> None:
    block = Blocked()
    with before(VideoUNet, block.act), bench.near_worker() as worker:
        worker.start()
        running, waiting = bench.job("a", steps=60), bench.job("b")
        assert block.reached.wait(60)
        bench.queue.close()
        block.go_on.set()
        worker.join()
        assert running.end() == waiting.end() == Cancelled()
    assert block.times < 60
    assert bench.files() == []


def test_closing_does_not_wait_for_a_place_in_the_cluster(bench: NearBench) -> None:
    bench.session.full = True
    with bench.near_worker() as worker:
        worker.start()
        until(lambda: bench.session.processes, "an actor to be asked for")
        seen = bench.job("a")
        assert worker.status().state == "starting"
    assert seen.end() == Cancelled()
    assert worker.status().state == "stopped"


def test_pauses_grow_up_to_a_minute_and_begin_anew_after_a_good_one() -> None:
    now = [0.0]
    pauses = ActorBackoff(lambda: now[0])
    assert [pauses.pause_s() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    pauses.begin()
    now[0] += 59
    assert pauses.pause_s() == 60
    pauses.begin()
    now[0] += 61
    assert pauses.pause_s() == 1


def test_an_order_has_all_that_a_job_needs(bench: NearBench) -> None:
    """It crosses to another process, and so must everything in it."""
    ray = pytest.importorskip("ray")
    job = bench.job("a", negative_prompt="blur", fps=24).job
    order = JobOrder(job.id, job.settings)
    assert ray.cloudpickle.loads(ray.cloudpickle.dumps(order)) == order
    settings = bench.settings(backend="ray", model_dirs={"x": Path("x")})
    assert ray.cloudpickle.loads(ray.cloudpickle.dumps(settings)) == settings
    backends = ray.cloudpickle.loads(ray.cloudpickle.dumps(default_backends()))
    assert backends.of(job.settings.model).family == "videocrafter"


def test_without_ray_the_engine_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineSettingsError, match=r"backend: .* pip install 'floor33\[ray\]'"):
        Engine(EngineSettings(output_dir=tmp_path, backend="ray"))
