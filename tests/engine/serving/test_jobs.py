"""Jobs: events in order, none lost, whoever listens and whenever."""

import asyncio
import logging
import threading

import pytest

from engine.serving import (
    Cancelled,
    Event,
    Failed,
    FailureReason,
    JobCancelled,
    JobFailed,
    Progress,
    Queued,
    Started,
)
from engine.serving.scheduling.scheduler import JobQueue
from tests.engine.serving.jobs import FIRST, heard, make_job, put


@pytest.fixture
def queue() -> JobQueue:
    return JobQueue(capacity=8)


def test_a_late_listener_hears_everything_in_order(queue: JobQueue) -> None:
    job = put(queue, "a")
    job.publish(Started("cpu"))
    job.publish(Progress(1, 2))
    job.publish(Cancelled())
    assert heard(job) == [FIRST, Started("cpu"), Progress(1, 2), Cancelled()]


def test_nothing_follows_the_end(queue: JobQueue) -> None:
    job = put(queue, "a")
    events = heard(job)
    job.publish(Cancelled())
    job.publish(Progress(1, 2))
    job.publish(Failed(FailureReason.INTERNAL, "late"))
    assert events == [FIRST, Cancelled()]
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
    assert events == [FIRST, Started("cpu")]
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.ERROR]
    assert "no Started" in str(caplog.records[1].exc_info)


def test_after_unsubscribing_nothing_is_heard(queue: JobQueue) -> None:
    job = put(queue, "a")
    events: list[Event] = []
    unsubscribe = job.subscribe(events.append)
    unsubscribe()
    unsubscribe()
    job.publish(Started("cpu"))
    assert events == [FIRST]


def test_a_listener_may_cancel_without_upsetting_the_order(queue: JobQueue) -> None:
    job = put(queue, "a")

    def impatient(event: Event) -> None:
        if event == FIRST:
            job.cancel()

    job.subscribe(impatient)
    assert heard(job) == [FIRST, Cancelled()]


async def test_the_stream_loses_nothing_when_read_late(queue: JobQueue) -> None:
    job = put(queue, "a")
    stream = job.events()
    assert await anext(stream) == FIRST

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
    assert [event async for event in job.events()] == [FIRST, *rest]


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
    assert streams == [[FIRST, Cancelled()]] * 3


def test_a_stream_left_behind_by_a_closed_loop_harms_nobody(queue: JobQueue) -> None:
    job = put(queue, "a")
    loop = asyncio.new_event_loop()
    stream = job.events()
    assert loop.run_until_complete(anext(stream)) == FIRST
    loop.close()
    job.publish(Started("cpu"))
    assert heard(job) == [FIRST, Started("cpu")]


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


def test_an_older_place_never_follows_a_newer_one(queue: JobQueue) -> None:
    job = make_job(queue)
    job.publish_position(Queued(2), version=5)
    job.publish_position(Queued(3), version=4)
    job.publish_position(Queued(2), version=6)
    job.publish(Started("cpu"))
    job.publish_position(Queued(1), version=7)
    assert heard(job) == [Queued(2), Started("cpu")]


def test_a_waiting_time_is_told_when_it_has_changed_by_much(queue: JobQueue) -> None:
    job = make_job(queue)
    places = [
        Queued(2),
        Queued(2, 100.0, 0.2),
        Queued(2, 109.0, 0.3),
        Queued(2, 111.0, 0.3),
        Queued(1, 111.5, 0.3),
        Queued(1, 8.0, 0.3),
        Queued(1, 4.0, 0.3),
        Queued(1, 2.0, 0.3),
    ]
    for version, place in enumerate(places):
        job.publish_position(place, version)
    assert heard(job) == [places[index] for index in (0, 1, 3, 4, 5, 7)]


def test_a_job_knows_where_it_was_started(queue: JobQueue) -> None:
    job = put(queue, "a")
    assert job.device is None
    job.publish(Started("cuda:0"))
    job.publish(Started("cuda:1"))  # run again, elsewhere
    job.publish(Cancelled())
    assert job.device == "cuda:1"


def test_a_worker_is_called_as_soon_as_its_job_shall_be_cancelled(queue: JobQueue) -> None:
    job = put(queue, "a")
    queue.take()
    calls: list[str] = []
    job.when_cancelled(lambda: calls.append("first"))
    job.when_cancelled(lambda: calls.append("second"))
    assert calls == []
    job.cancel()
    assert calls == ["second"], "the worker that has the job now"
    job.when_cancelled(lambda: calls.append("late"))
    assert calls == ["second", "late"]
