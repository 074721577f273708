"""The queue of jobs: whose turn it is, what is told about it, and its end."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from engine.checkpoints import ModelCard
from engine.serving import (
    Cancelled,
    EngineClosed,
    Event,
    Failed,
    FailureReason,
    Job,
    Queued,
    QueueFullError,
    RequestError,
    RequestShape,
    Started,
)
from engine.serving.scheduling.costs import DeviceCosts, shape_of
from engine.serving.scheduling.scheduler import JobQueue
from tests.engine.serving.jobs import FIRST, SETTINGS, heard, make_job, positions, put

MakeQueue = Callable[..., JobQueue]


def known_costs(workers: int = 1, seconds: float = 10.0, runs: int = 40) -> DeviceCosts:
    """A job of `jobs.SETTINGS` takes so many seconds, for sure after 40 runs; others in scale."""
    costs = DeviceCosts({f"cuda:{index}": "GPU" for index in range(workers)})
    costs.learn([(shape_of(SETTINGS, "GPU"), seconds)] * runs)
    return costs


@pytest.fixture
def make_queue() -> Iterator[MakeQueue]:
    queues: list[JobQueue] = []

    def make(
        capacity: int = 8, costs: DeviceCosts | None = None, interval_s: float = 0.0
    ) -> JobQueue:
        queues.append(JobQueue(capacity, costs, positions_interval_s=interval_s))
        return queues[-1]

    yield make
    for queue in queues:
        queue.close()


@pytest.fixture
def queue(make_queue: MakeQueue) -> JobQueue:
    return make_queue()


def wait_for(job: Job, wanted: Callable[[Event], bool]) -> None:
    """Return when the job has had such an event; fail if it never has."""
    arrived = threading.Event()
    unsubscribe = job.subscribe(lambda event: arrived.set() if wanted(event) else None)
    assert arrived.wait(30), heard(job)
    unsubscribe()


def at(position: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, Queued) and event.position == position


def started(queue: JobQueue, device: str = "cuda:0") -> Job:
    job = queue.take()
    assert job is not None
    job.publish(Started(device))
    return job


# Turns and places


def test_places_move_up(queue: JobQueue) -> None:
    jobs = [put(queue, name) for name in "abcd"]
    assert [positions(job) for job in jobs] == [[1], [2], [3], [4]]
    assert queue.take() is jobs[0]
    for place, job in enumerate(jobs[1:], start=1):
        wait_for(job, at(place))
    jobs[2].cancel()
    assert heard(jobs[2])[-1] == Cancelled()
    wait_for(jobs[3], at(2))
    assert positions(jobs[0]) == [1]
    assert positions(jobs[1]) == [2, 1]
    assert positions(jobs[3]) == [4, 3, 2]
    assert [queue.take(), queue.take()] == [jobs[1], jobs[3]]


def test_a_taker_waits_no_longer_than_it_says(queue: JobQueue) -> None:
    assert queue.next_batch(lambda _: 1, timeout_s=0.01) == ()
    job = put(queue, "a")
    queue.pause()
    assert queue.next_batch(lambda _: 1, timeout_s=0.01) == ()
    assert [waiting.id for waiting in queue.view().waiting] == [job.id]


def test_nobody_waits_for_all_of_another_ones_jobs(queue: JobQueue) -> None:
    greedy = [put(queue, f"greedy-{index}", owner="greedy") for index in range(5)]
    modest = put(queue, "modest", owner="modest")
    assert positions(modest) == [2]
    wait_for(greedy[1], at(3))  # its place has got worse
    assert [queue.take(), queue.take(), queue.take()] == [greedy[0], modest, greedy[1]]


def test_weights_are_those_of_the_requests(queue: JobQueue) -> None:
    for index in range(4):
        put(queue, f"plain-{index}", owner="plain")
        put(queue, f"boosted-{index}", owner="boosted", weight=3.0)
    taken = [queue.take() for _ in range(4)]
    assert [job.id for job in taken if job and job.owner == "boosted"] == [
        "boosted-0",
        "boosted-1",
        "boosted-2",
    ]


def test_longer_clips_cost_more_of_the_share(make_queue: MakeQueue) -> None:
    queue = make_queue(costs=known_costs())
    for index in range(2):
        put(queue, f"long-{index}", owner="long", steps=30)
    for index in range(5):
        put(queue, f"short-{index}", owner="short", steps=10)
    order = [job.id for job in queue.view().waiting]
    assert order == ["short-0", "short-1", "long-0", *(f"short-{i}" for i in (2, 3, 4)), "long-1"]
    assert [job.id for job in (queue.take() for _ in order) if job] == order


def test_a_job_that_took_longer_than_thought_costs_its_owner_more(make_queue: MakeQueue) -> None:
    def next_two(elapsed_s: float | None) -> list[str]:
        queue = make_queue(costs=known_costs(seconds=10.0))
        for name in ("a1", "b1", "b2", "a2"):
            put(queue, name, owner=name[0])
        queue.done(started(queue), elapsed_s)
        return [queue.take().id, queue.take().id]  # type: ignore[union-attr]

    assert next_two(10.0) == ["b1", "b2"]  # b2 has the tie, for it came first
    assert next_two(1.0) == ["b1", "a2"]
    assert next_two(25.0) == ["b1", "b2"]
    # Nothing is known of how long a job would have taken that did not end: the time it had.
    assert next_two(None) == ["b1", "a2"]


# Waiting times


@pytest.mark.parametrize("workers", [1, 2])
def test_the_wait_is_what_comes_before_shared_by_the_workers(
    make_queue: MakeQueue, workers: int
) -> None:
    queue = make_queue(costs=known_costs(workers, seconds=1000.0))
    jobs = [put(queue, name, owner=name) for name in "abc"]
    waits = [heard(job)[0].wait_s for job in jobs]  # type: ignore[union-attr]
    assert waits == pytest.approx([0.0, 1000.0 / workers, 2000.0 / workers])
    started(queue)
    late = heard(put(queue, "late", owner="late"))[0]
    assert isinstance(late, Queued)
    assert late.position == 3
    assert late.wait_s is not None
    assert 2500.0 / workers < late.wait_s <= 3000.0 / workers  # less what has run meanwhile


def test_the_error_of_a_wait_is_that_of_its_parts(make_queue: MakeQueue) -> None:
    costs = known_costs(seconds=100.0, runs=1)
    queue = make_queue(costs=costs)
    put(queue, "a")
    place = heard(put(queue, "b"))[0]
    assert isinstance(place, Queued)
    assert place.wait_error == pytest.approx(costs.estimate(SETTINGS).error)
    assert place.wait_error > 0.1


def test_very_many_jobs_before_one_are_extrapolated(make_queue: MakeQueue) -> None:
    queue = make_queue(1000, known_costs(seconds=10.0), interval_s=3600)
    for index in range(700):
        put(queue, f"job-{index}")
    last = heard(put(queue, "last"))[0]
    assert isinstance(last, Queued)
    assert (last.position, last.wait_s) == (701, pytest.approx(7000.0))


def test_who_waits_is_told_what_has_been_learned(make_queue: MakeQueue) -> None:
    costs = known_costs(seconds=100.0, runs=1)
    queue = make_queue(costs=costs)
    jobs = [put(queue, name) for name in "abc"]
    first = started(queue)
    wait_for(jobs[2], lambda event: isinstance(event, Queued) and event.position == 2)
    queue.done(first, 500.0)
    wait_for(jobs[2], lambda event: isinstance(event, Queued) and event.wait_s == 300.0)
    assert costs.estimate(SETTINGS).seconds == pytest.approx(300.0)
    assert [job.cost_s for job in queue.view().waiting] == pytest.approx([300.0, 300.0])


def test_only_jobs_that_ended_well_teach(make_queue: MakeQueue) -> None:
    costs = known_costs(seconds=100.0)
    queue = make_queue(costs=costs)
    put(queue, "a")
    queue.done(started(queue))
    assert costs.estimate(SETTINGS).seconds == pytest.approx(100.0)
    put(queue, "never-started")
    job = queue.take()
    assert job is not None
    queue.done(job, 5.0)
    assert costs.estimate(SETTINGS).seconds == pytest.approx(100.0)


def test_different_devices_are_one_average_until_one_is_known() -> None:
    costs = DeviceCosts({"cuda:0": "fast", "cuda:1": "slow"})
    for _ in range(3):
        costs.observe(SETTINGS, "cuda:0", 10.0)
        costs.observe(SETTINGS, "cuda:1", 30.0)
    # In 60 seconds the two make 6 + 2 clips, as two devices do that take 15 seconds each.
    assert costs.estimate(SETTINGS).seconds == pytest.approx(15.0)


def test_past_runs_without_a_device_teach_all_of_them() -> None:
    costs = DeviceCosts({"cuda:0": "fast", "cuda:1": "slow"})
    costs.learn([(shape_of(SETTINGS), 20.0)])
    assert costs.estimate(SETTINGS).seconds == pytest.approx(20.0)
    elsewhere = RequestShape(
        model="m", width=64, height=64, num_frames=16, steps=2, device="another kind"
    )
    costs.learn([(elsewhere, 7.0)])
    assert costs.estimate(SETTINGS).seconds == pytest.approx(20.0)


# When places are told


def test_places_are_told_once_in_an_interval(make_queue: MakeQueue) -> None:
    queue = make_queue(interval_s=3600)
    jobs = [put(queue, name) for name in "abcd"]
    queue.take()
    wait_for(jobs[3], at(3))  # the first change is told at once
    queue.take()
    put(queue, "e", owner="other")
    timers = [thread for thread in threading.enumerate() if thread.name == "engine-positions"]
    for timer in timers:
        timer.join(0.5)
    assert any(timer.is_alive() for timer in timers), "the second change waits for an hour"
    assert positions(jobs[3]) == [4, 3]
    queue.close()
    for timer in timers:
        timer.join(30)
        assert not timer.is_alive(), "close() ends the timer"


def test_a_change_in_the_interval_is_told_after_it(make_queue: MakeQueue) -> None:
    queue = make_queue(interval_s=0.2)
    jobs = [put(queue, name) for name in "abcd"]
    queue.take()
    wait_for(jobs[3], at(3))
    queue.take()
    wait_for(jobs[3], at(2))
    assert positions(jobs[3]) == [4, 3, 2]


def test_the_view_shows_everything(make_queue: MakeQueue) -> None:
    queue = make_queue(costs=known_costs(seconds=1000.0))
    assert queue.view().waiting == queue.view().running == ()
    put(queue, "a1", owner="a")
    put(queue, "a2", owner="a")
    put(queue, "b1", owner="b")
    assert [run.id for run in queue.view().running] == []
    started(queue)
    view = queue.view()
    assert [(job.id, job.owner, job.position) for job in view.waiting] == [
        ("b1", "b", 1),
        ("a2", "a", 2),
    ]
    assert [job.cost_s for job in view.waiting] == pytest.approx([1000.0, 1000.0])
    (run,) = view.running
    assert (run.id, run.owner, run.device) == ("a1", "a", "cuda:0")
    assert run.elapsed_s + run.remaining_s == pytest.approx(1000.0)
    assert view.waiting[0].wait_s == pytest.approx(run.remaining_s)
    assert view.waiting[1].wait_s == pytest.approx(run.remaining_s + 1000.0)


def test_the_view_does_not_wait_for_a_slow_listener(queue: JobQueue) -> None:
    job = put(queue, "a")
    queue.take()
    inside, go_on = threading.Event(), threading.Event()

    def slow(event: Event) -> None:
        if isinstance(event, Started):
            inside.set()
            go_on.wait(30)

    job.subscribe(slow)
    worker = threading.Thread(target=job.publish, args=(Started("cuda:0"),))
    worker.start()
    assert inside.wait(30)
    seen: list[str | None] = []
    looker = threading.Thread(target=lambda: seen.extend(r.device for r in queue.view().running))
    looker.start()
    looker.join(10)
    go_on.set()
    worker.join(30)
    assert seen == ["cuda:0"]


# Batches


def batch_of(queue: JobQueue, limit: int) -> list[str]:
    return [job.id for job in queue.next_batch(lambda _: limit)]


def test_a_batch_has_jobs_that_can_run_together_in_the_order_of_turns(queue: JobQueue) -> None:
    put(queue, "a1", owner="a")
    put(queue, "a2", owner="a", fps=16)
    put(queue, "a3", owner="a")
    put(queue, "b1", owner="b", prompt="a dog", seed=2)
    put(queue, "c1", owner="c", guidance=2.0)
    assert batch_of(queue, 3) == ["a1", "b1", "a2"]
    assert [run.id for run in queue.view().running] == ["a1", "b1", "a2"]
    assert batch_of(queue, 3) == ["c1"]
    assert batch_of(queue, 3) == ["a3"]


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 128},
        {"height": 128},
        {"num_frames": 8},
        {"steps": 3},
        {"guidance": 2.0},
        {"image": Image.new("RGB", (64, 64))},
        {"model": ModelCard(name="n", title="m", task="text-to-video", path=Path("m"))},
        {
            "model": ModelCard(
                name="m", title="m", task="text-to-video", path=Path("m"), revision="other"
            )
        },
    ],
)
def test_what_differs_runs_by_itself(queue: JobQueue, changes: dict[str, object]) -> None:
    put(queue, "a")
    put(queue, "b", **changes)
    assert batch_of(queue, 9) == ["a"]
    assert batch_of(queue, 9) == ["b"]


@pytest.mark.parametrize("limit", [1, 0, -5])
def test_a_limit_of_one_or_less_is_one_job(queue: JobQueue, limit: int) -> None:
    put(queue, "a")
    put(queue, "b")
    assert batch_of(queue, limit) == ["a"]


def test_a_limit_that_raises_loses_no_job(queue: JobQueue) -> None:
    job = put(queue, "a")

    def broken(first: Job) -> int:
        raise RuntimeError(first.id)

    with pytest.raises(RuntimeError, match="a"):
        queue.next_batch(broken)
    assert queue.take() is job


def test_who_rides_along_pays_for_it(queue: JobQueue) -> None:
    for name in ("a1", "b1", "b2", "a2", "c1"):
        put(queue, name, owner=name[0], steps=3 if name in ("b1", "c1") else 2)
    assert batch_of(queue, 9) == ["a1", "a2", "b2"]
    assert batch_of(queue, 9) == ["c1", "b1"]


def test_the_rest_of_a_batch_counts_once(make_queue: MakeQueue) -> None:
    queue = make_queue(costs=known_costs(seconds=1000.0))
    for name in "abc":
        put(queue, name)
    batch = queue.next_batch(lambda _: 2)
    late = heard(put(queue, "late"))[0]
    assert isinstance(late, Queued)
    assert late.wait_s is not None
    assert 2500.0 < late.wait_s <= 3000.0
    queue.done(batch[0], 1000.0)
    queue.done(batch[1], 1000.0)
    assert queue.view().waiting[1].wait_s == pytest.approx(1000.0)


# What is put back


def test_jobs_that_are_put_back_have_their_turn_again(queue: JobQueue) -> None:
    jobs = {name: put(queue, name, owner=name[0]) for name in ("a1", "a2", "b1", "b2")}
    batch = queue.next_batch(lambda _: 2)
    assert [job.id for job in batch] == ["a1", "b1"]
    for job in batch:
        job.publish(Started("cuda:0"))
    queue.requeue(batch)
    assert [waiting.id for waiting in queue.view().waiting] == ["a1", "b1", "a2", "b2"]
    assert queue.view().running == ()
    assert batch_of(queue, 9) == ["a1", "b1", "a2", "b2"]
    assert not any(job.ended for job in jobs.values())


def test_who_is_put_back_is_told_that_it_waits(queue: JobQueue) -> None:
    first, second = put(queue, "a"), put(queue, "b")
    queue.take()
    first.publish(Started("cuda:0"))
    queue.requeue([first])
    wait_for(first, lambda event: event == Queued(1, 0.0, 0.0))
    assert heard(first)[:3] == [FIRST, Started("cuda:0"), Queued(1)]
    wait_for(second, lambda event: isinstance(event, Queued) and event.position == 2)
    assert queue.take() is first
    queue.done(first)
    assert queue.take() is second


def test_a_taker_is_woken_by_what_is_put_back(queue: JobQueue) -> None:
    job = put(queue, "a")
    queue.take()
    taken: list[Job | None] = []
    thread = threading.Thread(target=lambda: taken.append(queue.take()))
    thread.start()
    queue.requeue([job])
    thread.join(timeout=10)
    assert taken == [job]


def test_what_has_ended_is_not_put_back(queue: JobQueue) -> None:
    job = put(queue, "a")
    queue.take()
    queue.done(job)
    job.publish(Cancelled())
    queue.requeue([job])
    assert queue.view().waiting == ()
    put(queue, "a")


def test_what_shall_be_cancelled_is_not_put_back(queue: JobQueue) -> None:
    unwanted, wanted = put(queue, "a"), put(queue, "b")
    batch = queue.next_batch(lambda _: 2)
    unwanted.cancel()
    queue.requeue(batch)
    assert heard(unwanted)[-1] == Cancelled()
    assert queue.take() is wanted
    put(queue, "a")


def test_nothing_is_put_back_after_the_end(queue: JobQueue) -> None:
    job = put(queue, "a")
    queue.take()
    queue.close()
    queue.requeue([job])
    assert heard(job)[-1] == Cancelled()
    assert queue.view().waiting == ()
    assert queue.take() is None


def test_what_is_put_back_fits_even_if_the_queue_is_full(make_queue: MakeQueue) -> None:
    queue = make_queue(capacity=1)
    first = put(queue, "a")
    queue.take()
    put(queue, "b")
    queue.requeue([first])
    assert [waiting.id for waiting in queue.view().waiting] == ["a", "b"]


def test_a_device_whose_kind_becomes_known_is_counted_once() -> None:
    costs = DeviceCosts({"ray:0": "ray"})
    costs.learn([(shape_of(SETTINGS, "GPU"), 4.0), (shape_of(SETTINGS, "cpu"), 12.0)])
    costs.set_kind("ray:0", "cpu")
    assert (costs.workers, costs.estimate(SETTINGS).seconds) == (1, 12.0)
    costs.set_kind("ray:1", "GPU")
    assert (costs.workers, costs.estimate(SETTINGS).seconds) == (2, 6.0)


# Bounds, ids and the end


def test_cancelling_what_runs_only_asks(queue: JobQueue) -> None:
    job = put(queue, "a")
    queue.take()
    assert not job.cancel_requested
    job.cancel()
    assert job.cancel_requested
    assert not job.ended


def test_the_queue_is_bounded(queue: JobQueue) -> None:
    for index in range(8):
        put(queue, f"job-{index}")
    with pytest.raises(QueueFullError, match="8 jobs are waiting"):
        put(queue, "one-more")
    queue.take()
    assert positions(put(queue, "one-more"))[0] == 8


def test_an_id_is_used_once_at_a_time(queue: JobQueue) -> None:
    job = put(queue, "a")
    with pytest.raises(RequestError, match="already"):
        put(queue, "a")
    assert queue.take() is job
    with pytest.raises(RequestError, match="already"):
        put(queue, "a")
    queue.done(job)
    queue.done(job)
    put(queue, "a").cancel()
    assert heard(put(queue, "a")) == [FIRST]


def test_closing_ends_everything(queue: JobQueue) -> None:
    running, waiting = put(queue, "a"), put(queue, "b")
    queue.take()
    taken: list[object] = []
    events = heard(waiting)
    queue.close()
    queue.close()
    thread = threading.Thread(
        target=lambda: taken.extend([queue.take(), queue.next_batch(lambda _: 2)])
    )
    thread.start()
    thread.join(timeout=10)
    assert taken == [None, ()]
    assert running.cancel_requested
    assert events[-1] == Cancelled()
    queue.done(running)
    assert queue.view().waiting == queue.view().running == ()
    with pytest.raises(EngineClosed):
        put(queue, "c")


def test_a_waiting_taker_is_woken_by_close_and_by_put(queue: JobQueue) -> None:
    taken: list[Job | None] = []

    def take_twice() -> None:
        taken.extend([queue.take(), queue.take()])

    thread = threading.Thread(target=take_twice)
    thread.start()
    job = put(queue, "a")
    queue.close()
    thread.join(timeout=10)
    assert taken in ([job, None], [None, None])  # close() may come before the first take()


@pytest.mark.parametrize("batch", [1, 4])
def test_many_threads_lose_no_job_and_no_event(make_queue: MakeQueue, batch: int) -> None:
    queue = make_queue(capacity=200)
    done: list[str] = []
    lock = threading.Lock()

    def work() -> None:
        while jobs := queue.next_batch(lambda _: batch):
            for job in jobs:
                job.publish(Started("cpu"))
            for job in jobs:
                queue.done(job, 0.001)
                job.publish(Failed(FailureReason.INTERNAL, "over"))
            with lock:
                done.extend(job.id for job in jobs)

    def fill(name: str) -> None:
        jobs.extend(put(queue, f"{name}-{index}", owner=name) for index in range(50))

    jobs: list[Job] = []
    workers = [threading.Thread(target=work) for _ in range(3)]
    fillers = [threading.Thread(target=fill, args=(name,)) for name in "abc"]
    for thread in (*workers, *fillers):
        thread.start()
    for thread in fillers:
        thread.join(timeout=30)
    for job in jobs:
        wait_for(job, lambda event: isinstance(event, Failed))
    queue.close()
    for thread in workers:
        thread.join(timeout=30)
    assert sorted(done) == sorted(job.id for job in jobs)
    for job in jobs:
        kinds = [type(event) for event in heard(job)]
        assert kinds == [Queued] * (len(kinds) - 2) + [Started, Failed]
        assert len(kinds) > 2


def test_what_was_begun_before_goes_first_and_is_charged_at_its_end() -> None:
    queue = JobQueue(8, DeviceCosts({"cpu": "cpu"}))
    put(queue, "short", owner="a", steps=1)
    begun = make_job(queue, "long", owner="b", steps=50)
    begun = Job(begun.id, begun.settings, queue.discard, owner=begun.owner, begun=True)
    queue.put(begun)
    put(queue, "next", owner="b", steps=1)
    assert queue.take() is begun
    queue.done(begun, 100.0)
    order = [queue.take() for _ in range(2)]
    assert [job.id for job in order if job] == ["short", "next"]
