"""Threads that hang: noticed, given up and replaced, and what comes late is thrown away."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from diffusers.models.autoencoders.vae import Decoder
from transformers import CLIPTextModel

from engine.models import VideoUNet
from engine.serving import Cancelled, Failed, FailureReason, Finished, Started
from engine.serving.cancellation import WorkerAbandoned
from engine.serving.execution.watchdog import FACTOR, FIRST_FACTOR, Watchdog
from engine.serving.workers.supervisor import MOST_LOST, WorkerSupervisor
from tests.engine.serving.workbench import Blocked, Workbench, before

QUICKLY = {"hang_after_s": 0.5}
"""So that the worker looks often; what counts is the clock of the test."""


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_has_never_been_done_may_take_long() -> None:
    clock = Clock()
    watch = Watchdog(10, clock=clock)
    assert watch.abandon() is None
    watch.enter_phase("sampling", "large")
    clock.now += FIRST_FACTOR * 10
    assert watch.abandon() is None
    clock.now += 1
    overdue = watch.abandon()
    assert overdue is not None
    assert (overdue.phase, overdue.seconds, overdue.limit_s) == ("sampling", 61, 60)
    assert watch.abandon() is None, "once is enough"


@pytest.mark.parametrize(("usual", "limit"), [(0.01, 10), (0.5, 10), (3, 3 * FACTOR)])
def test_known_phases_get_many_times_their_usual_time(usual: float, limit: float) -> None:
    clock = Clock()
    watch = Watchdog(10, clock=clock)
    for _ in range(5):
        watch.enter_phase("sampling", "large")
        clock.now += usual
    watch.enter_phase("sampling", "large")
    clock.now += limit - 0.001
    assert watch.abandon() is None
    clock.now += 0.002
    assert watch.abandon() is not None


def test_what_is_known_of_one_shape_says_nothing_of_another() -> None:
    clock = Clock()
    watch = Watchdog(10, clock=clock)
    for about in ("small", "small", "large"):
        watch.enter_phase("sampling", about)
        clock.now += 0.1
    clock.now += FIRST_FACTOR * 10 - 1
    assert watch.abandon() is None


def test_nothing_is_overdue_while_it_rests_or_lives() -> None:
    clock = Clock()
    watch = Watchdog(1, clock=clock)
    watch.enter_phase("encoding")
    for _ in range(10):
        clock.now += FIRST_FACTOR
        watch.heartbeat()
        assert watch.abandon() is None
    watch.idle()
    clock.now += 1000
    assert watch.abandon() is None
    assert watch.phase is None


def test_patience_is_shorter_when_nobody_waits() -> None:
    clock = Clock()
    watch = Watchdog(1000, clock=clock)
    watch.enter_phase("sampling")
    clock.now += 61
    assert watch.abandon() is None
    assert watch.abandon(60) is not None


def test_whoever_has_been_given_up_has_no_say_any_more() -> None:
    clock = Clock()
    watch = Watchdog(1, clock=clock)
    watch.enter_phase("sampling")
    clock.now += 100
    assert watch.abandon() is not None
    for say in (watch.heartbeat, watch.idle, lambda: watch.enter_phase("decoding")):
        with pytest.raises(WorkerAbandoned):
            say()
    with pytest.raises(WorkerAbandoned), watch.critical_section():
        raise AssertionError("not reached")


@pytest.fixture
def bench(tiny_t2v: Path, tmp_path: Path) -> Workbench:
    return Workbench({"tiny-t2v": tiny_t2v}, tmp_path)


def threads() -> int:
    return sum(thread.name == "engine-cpu" for thread in threading.enumerate())


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


LONG_S = 10_000


@pytest.mark.parametrize("kind", [VideoUNet, Decoder, CLIPTextModel])
def test_a_hung_job_fails_and_the_next_one_is_made(
    bench: Workbench, kind: type, caplog: pytest.LogCaptureFixture
) -> None:
    block, clock = Blocked(), Clock()
    with bench.worker(clock=clock, **QUICKLY) as worker:
        worker.start()
        assert isinstance(bench.job("before").end(), Finished)
        with before(kind, block.act):
            hung, waiting = bench.job("hung"), bench.job("waiting")
            assert block.reached.wait(60)
            assert worker.status().replaced == 0
            clock.now += LONG_S
            failed = hung.end()
            assert isinstance(failed, Failed)
            assert failed.reason is FailureReason.HUNG
            assert "given up after 167 minutes" in failed.message
            until(lambda: block.times > 1, "another thread has come as far")
            block.go_on.set()
            assert isinstance(waiting.end(), Finished)
        assert isinstance(bench.job("after").end(), Finished)
        status = worker.status()
        assert (status.replaced, status.jobs_done) == (1, 3)
        assert status.failures == {FailureReason.HUNG: 1}
        until(lambda: threads() == 1, "the hung thread ends when it comes back")
    assert hung.events[-1] == failed, "what came late is thrown away"
    assert bench.files() == sorted(
        f"{name}.{end}" for name in ("before", "waiting", "after") for end in ("json", "mp4")
    )
    critical = [r.getMessage() for r in caplog.records if r.levelno == logging.CRITICAL]
    assert len(critical) == 1
    assert "hung" in critical[0]
    assert "go_on.wait" in critical[0], "the operator sees where it stands"


def test_a_late_clip_never_takes_the_place_of_another_of_its_name(bench: Workbench) -> None:
    block, clock = Blocked(), Clock()
    with bench.worker(clock=clock, **QUICKLY) as worker:
        worker.start()
        with before(Decoder, block.act):
            late = bench.job("name", seed=1)
            assert block.reached.wait(60)
            clock.now += LONG_S
            assert isinstance(late.end(), Failed)
        made = bench.job("name", seed=2).end()
        assert isinstance(made, Finished)
        content = made.result.path.read_bytes()
        assert threads() == 2
        block.go_on.set()
        until(lambda: threads() == 1, "the late thread ends")
        assert made.result.path.read_bytes() == content
        assert made.result.sidecar.is_file()
    assert bench.files() == ["name.json", "name.mp4"]


def test_when_too_many_hang_no_further_one_is_started(
    bench: Workbench, caplog: pytest.LogCaptureFixture
) -> None:
    block, clock = Blocked(), Clock()
    with bench.worker(clock=clock, **QUICKLY) as worker:
        worker.start()
        with before(VideoUNet, block.act):
            jobs = [bench.job(f"job-{index}") for index in range(MOST_LOST + 1)]
            for index, seen in enumerate(jobs[:MOST_LOST]):
                until(lambda count=index: block.times > count, "it hangs")
                clock.now += LONG_S
                assert isinstance(seen.end(), Failed)
            until(lambda: worker.status().state == "stuck", "it is told")
            assert worker.status().replaced == MOST_LOST
            until(lambda: "takes no more jobs" in caplog.text, "the operator is told")
            assert Started("cpu") not in jobs[-1].events, "it waits"
            block.go_on.set()
            assert isinstance(jobs[-1].end(), Finished), "as soon as one has come back"


def test_a_batch_that_hangs_fails_as_a_whole_and_once(bench: Workbench) -> None:
    block, clock = Blocked(), Clock()
    jobs = bench.jobs(3)
    with before(VideoUNet, block.act), bench.worker(clock=clock, max_batch=3) as worker:
        worker.start()
        assert block.reached.wait(60)
        clock.now += LONG_S
        ends = [seen.end() for seen in jobs]
        block.go_on.set()
    assert [type(end) for end in ends] == [Failed] * 3
    assert [len([e for e in seen.events if isinstance(e, Failed)]) for seen in jobs] == [1] * 3
    assert bench.files() == []


def test_a_worker_whose_thread_hangs_can_be_closed(bench: Workbench) -> None:
    block, clock = Blocked(), Clock()
    worker = WorkerSupervisor("cpu", bench.queue, bench.settings(hang_after_s=86_400), clock)
    with before(VideoUNet, block.act):
        worker.start()
        seen = bench.job("hung")
        assert block.reached.wait(60)
        bench.queue.close()
        closing = threading.Thread(target=worker.join)
        closing.start()
        clock.now += 61  # far less than a thread may take whose result somebody waits for
        closing.join(60)
        assert not closing.is_alive()
        assert seen.end() == Cancelled(), "closing cancels what runs"
        block.go_on.set()
    until(lambda: threads() == 0, "the thread ends")
