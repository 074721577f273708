"""Jobs without an engine, for the tests of jobs and of their queue."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.checkpoints import ModelCard
from engine.serving import Event, Job, Queued, ResolvedParams, ResolvedSettings
from engine.serving.scheduling.scheduler import JobQueue

SETTINGS = ResolvedSettings(
    model=ModelCard(name="m", title="m", task="text-to-video", path=Path("m")),
    params=ResolvedParams(
        model="m",
        prompt="a cat",
        seed=1,
        fps=8,
        steps=2,
        guidance=1.0,
        width=64,
        height=64,
        num_frames=16,
    ),
)

FIRST = Queued(1, 0.0, 0.0)
"""The place of a job when nothing waits or runs."""


def make_job(
    queue: JobQueue, job_id: str = "a", owner: str = "", weight: float = 1.0, **changes: Any
) -> Job:
    """A job whose settings are those above, but for the changes."""
    return Job(job_id, changed(**changes), queue.discard, owner=owner, weight=weight)


def changed(**changes: Any) -> ResolvedSettings:
    """The settings above, but for changes of the model or of parameters."""
    model = changes.pop("model", SETTINGS.model)
    return replace(SETTINGS, model=model, params=replace(SETTINGS.params, **changes))


def put(queue: JobQueue, job_id: str, owner: str = "", weight: float = 1.0, **changes: Any) -> Job:
    """Such a job, in the queue."""
    job = make_job(queue, job_id, owner, weight, **changes)
    queue.put(job)
    return job


def heard(job: Job) -> list[Event]:
    """A list that grows with the job's events."""
    events: list[Event] = []
    job.subscribe(events.append)
    return events


def positions(job: Job) -> list[int]:
    """The places that a job has been told so far."""
    return [event.position for event in heard(job) if isinstance(event, Queued)]
