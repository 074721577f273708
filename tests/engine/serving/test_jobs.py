"""Jobs and their queue: events in order, none lost, whoever listens and whenever."""

import asyncio
import logging
import threading
from pathlib import Path

import pytest

from engine.checkpoints import ModelCard
from engine.serving import (
    Cancelled,
    EngineClosed,
    Event,
    Failed,
    FailureReason,
    GenerationRequest,
    Job,
    JobCancelled,
    JobFailed,
    Progress,
    Queued,
    QueueFullError,
    RequestError,
    ResolvedSettings,
    Started,
)
from engine.serving.jobqueue import JobQueue

SETTINGS = ResolvedSettings(
    model=ModelCard(name="m", title="m", task="text-to-video", path=Path("m")),
    prompt="a cat",
    negative_prompt=None,
    seed=1,
    fps=8,
    steps=2,
    guidance=1.0,
    width=64,
    height=64,
    num_frames=16,
    picture=None,
)


def make_job(queue: JobQueue, job_id: str = "a") -> Job:
    request = GenerationRequest(job_id=job_id, model="m", prompt="a cat", seed=1)
    return Job(request, SETTINGS, on_cancel=queue.discard)


def put(queue: JobQueue, job_id: str) -> Job:
    job = make_job(queue, job_id)
    queue.put(job)
    return job


def heard(job: Job) -> list[Event]:
    """A list that grows with the job's events."""
    events: list[Event] = []
    job.subscribe(events.append)
    return events


@pytest.fixture
def queue() -> JobQueue:
    return JobQueue(capacity=8)


def test_a_late_listener_hears_everything_in_order(queue: JobQueue) -> None:
    job = put(queue, "a")
    job.publish(Started("cpu"))
    job.publish(Progress(1, 2))
    job.publish(Cancelled())
    assert heard(job) == [Queued(1), Started("cpu"), Progress(1, 2), Cancelled()]


def test_nothing_follows_the_end(queue: JobQueue) -> None:
    job = put(queue, "a")
    events = heard(job)
    job.publish(Cancelled())
    job.publish(Progress(1, 2))
    job.publish(Failed(FailureReason.INTERNAL, "late"))
    assert events == [Queued(1), Cancelled()]
    assert job.ended


def test_a_listener_that_raises_is_logged_and_others_go_on(
    queue: JobQueue, caplog: pytest.LogCaptureFixture
) -> None:
    job = put(queue, "a")

    def broken(event: Event) -> None:
        raise RuntimeError(f"no {event}")

    job.subscribe(broken)
    events = heard(job)
    job.publish(Started("cpu"))
    assert events == [Queued(1), Started("cpu")]
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.ERROR]
    assert "no Started" in str(caplog.records[1].exc_info)


def test_after_unsubscribing_nothing_is_heard(queue: JobQueue) -> None:
    job = put(queue, "a")
    events: list[Event] = []
    unsubscribe = job.subscribe(events.append)
    unsubscribe()
    unsubscribe()
    job.publish(Started("cpu"))
    assert events == [Queued(1)]


def test_a_listener_may_cancel_without_upsetting_the_order(queue: JobQueue) -> None:
    job = put(queue, "a")

    def impatient(event: Event) -> None:
        if event == Queued(1):
            job.cancel()

    job.subscribe(impatient)
    assert heard(job) == [Queued(1), Cancelled()]


async def test_the_stream_loses_nothing_when_read_late(queue: JobQueue) -> None:
    job = put(queue, "a")
    stream = job.events()
    assert await anext(stream) == Queued(1)

    def work() -> None:
        job.publish(Started("cpu"))
        for step in range(1, 201):
            job.publish(Progress(step, 200))
        job.publish(Failed(FailureReason.INTERNAL, "over"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    rest = [event async for event in stream]
    expected = [Started("cpu"), *(Progress(step, 200) for step in range(1, 201))]
    assert rest == [*expected, Failed(FailureReason.INTERNAL, "over")]
    assert [event async for event in job.events()] == [Queued(1), *rest]


async def test_several_streams_see_the_same(queue: JobQueue) -> None:
    job = put(queue, "a")

    async def collect() -> list[Event]:
        return [event async for event in job.events()]

    readers = [asyncio.create_task(collect()) for _ in range(3)]
    await asyncio.sleep(0)
    thread = threading.Thread(target=job.cancel)
    thread.start()
    streams = await asyncio.gather(*readers)
    thread.join()
    assert streams == [[Queued(1), Cancelled()]] * 3


def test_a_stream_left_behind_by_a_closed_loop_harms_nobody(queue: JobQueue) -> None:
    job = put(queue, "a")
    loop = asyncio.new_event_loop()
    stream = job.events()
    assert loop.run_until_complete(anext(stream)) == Queued(1)
    loop.close()
    job.publish(Started("cpu"))
    assert heard(job) == [Queued(1), Started("cpu")]


async def test_the_result_of_a_failed_or_cancelled_job_raises(queue: JobQueue) -> None:
    job = put(queue, "a")
    job.publish(Failed(FailureReason.DISK_FULL, "The disk is full."))
    with pytest.raises(JobFailed, match="The disk is full") as caught:
        await job.result()
    assert caught.value.reason is FailureReason.DISK_FULL
    other = put(queue, "b")
    other.cancel()
    with pytest.raises(JobCancelled):
        await other.result()


def test_places_move_up(queue: JobQueue) -> None:
    jobs = [put(queue, name) for name in "abcd"]
    events = [heard(job) for job in jobs]
    assert queue.take() is jobs[0]
    jobs[2].cancel()
    assert events[0] == [Queued(1)]
    assert events[1] == [Queued(2), Queued(1)]
    assert events[2] == [Queued(3), Queued(2), Cancelled()]
    assert events[3] == [Queued(4), Queued(3), Queued(2)]
    assert [queue.take(), queue.take()] == [jobs[1], jobs[3]]


def test_an_older_place_never_follows_a_newer_one(queue: JobQueue) -> None:
    job = make_job(queue)
    job.publish_position(2, version=5)
    job.publish_position(3, version=4)
    job.publish_position(2, version=6)
    job.publish(Started("cpu"))
    job.publish_position(1, version=7)
    assert heard(job) == [Queued(2), Started("cpu")]


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
    assert heard(put(queue, "one-more")) == [Queued(8)]


def test_an_id_is_used_once_at_a_time(queue: JobQueue) -> None:
    job = put(queue, "a")
    with pytest.raises(RequestError, match="already"):
        put(queue, "a")
    assert queue.take() is job
    with pytest.raises(RequestError, match="already"):
        put(queue, "a")
    queue.done(job)
    put(queue, "a")


def test_closing_ends_everything(queue: JobQueue) -> None:
    running, waiting = put(queue, "a"), put(queue, "b")
    queue.take()
    taken: list[Job | None] = []
    events = heard(waiting)
    queue.close()
    queue.close()
    thread = threading.Thread(target=lambda: taken.append(queue.take()))
    thread.start()
    thread.join(timeout=10)
    assert taken == [None]
    assert running.cancel_requested
    assert events[-1] == Cancelled()
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


def test_many_threads_lose_no_job_and_no_event() -> None:
    queue = JobQueue(capacity=200)
    done: list[str] = []
    lock = threading.Lock()

    def work() -> None:
        while (job := queue.take()) is not None:
            job.publish(Started("cpu"))
            queue.done(job)
            job.publish(Failed(FailureReason.INTERNAL, "over"))
            with lock:
                done.append(job.id)

    def fill(name: str) -> None:
        jobs.extend(put(queue, f"{name}-{index}") for index in range(50))

    jobs: list[Job] = []
    workers = [threading.Thread(target=work) for _ in range(3)]
    fillers = [threading.Thread(target=fill, args=(name,)) for name in "abc"]
    for thread in (*workers, *fillers):
        thread.start()
    for thread in fillers:
        thread.join(timeout=30)
    finished = threading.Semaphore(0)
    for job in jobs:
        job.subscribe(lambda event: finished.release() if isinstance(event, Failed) else None)
    for _ in jobs:
        assert finished.acquire(timeout=30)
    queue.close()
    for thread in workers:
        thread.join(timeout=30)
    assert sorted(done) == sorted(job.id for job in jobs)
    for job in jobs:
        kinds = [type(event) for event in heard(job)]
        places = [event.position for event in heard(job) if isinstance(event, Queued)]
        assert kinds == [Queued] * len(places) + [Started, Failed]
        assert places == sorted(places, reverse=True)
