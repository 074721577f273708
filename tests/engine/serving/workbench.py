"""A worker with its queue, and the faults that can be put into the networks it runs.

The faults come in by torch's own hooks for all modules: nothing of ours is replaced.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from engine.checkpoints import Catalog
from engine.models import VideoUNet
from engine.pipelines import VideoPipeline
from engine.serving import (
    EngineSettings,
    Event,
    Finished,
    GenerationRequest,
    Job,
    Progress,
    Terminal,
)
from engine.serving.backends import VideoModel
from engine.serving.backends.videocrafter import VideoCrafterModel
from engine.serving.request import resolve
from engine.serving.scheduling.scheduler import JobQueue
from engine.serving.workers.supervisor import WorkerSupervisor
from tests.engine.serving.clips import watch_video

PATIENCE_S = 120


class Seen:
    """The events of a job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.events: list[Event] = []
        self._ended = threading.Event()
        job.subscribe(self._listen)

    def _listen(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Terminal):
            self._ended.set()

    def end(self) -> Event:
        assert self._ended.wait(PATIENCE_S), f"{self.job.id} did not end: {self.events}"
        return self.events[-1]

    @property
    def steps(self) -> list[int]:
        return [event.step for event in self.events if isinstance(event, Progress)]


class Workbench:
    """Makes jobs and workers; everything is written below one folder."""

    def __init__(self, models: dict[str, Path], folder: Path) -> None:
        self.catalog = Catalog(models)
        self.out = folder / "out"
        self.queue = JobQueue(64)

    def settings(self, **changes: Any) -> EngineSettings:
        given: dict[str, Any] = {"min_free_mb": 1, "threads": 1, "previews_per_job": 0}
        return EngineSettings(output_dir=self.out, **(given | changes))

    def job(self, job_id: str, **changes: Any) -> Seen:
        """A job that waits."""
        given: dict[str, Any] = {"model": "tiny-t2v", "prompt": "a red ball", "seed": 7}
        request = GenerationRequest(job_id=job_id, **(given | changes))
        job = Job(
            request.job_id,
            resolve(request, self.catalog),
            self.queue.discard,
            owner=request.owner,
            weight=request.weight,
            begun=request.begun,
        )
        seen = Seen(job)
        self.queue.put(job)
        return seen

    def jobs(self, count: int, **changes: Any) -> list[Seen]:
        """Jobs that can be run together, each with its own prompt, seed and rate."""
        prompts = ["a red ball", "two dogs", "", "snow"]
        return [
            self.job(
                f"job-{index}",
                **{
                    "prompt": prompts[index % 4] or "x",
                    "seed": index,
                    "fps": (8, 24, 4)[index % 3],
                    "negative_prompt": "blur" if index % 2 else None,
                    **changes,
                },
            )
            for index in range(count)
        ]

    @contextmanager
    def worker(
        self, *, clock: Callable[[], float] = time.monotonic, **changes: Any
    ) -> Iterator[WorkerSupervisor]:
        """A worker on the CPU, ended at the end."""
        worker = WorkerSupervisor("cpu", self.queue, self.settings(**changes), clock)
        try:
            yield worker
        finally:
            self.queue.close()
            worker.join()

    def run(self, seen: Iterable[Seen], **changes: Any) -> list[Event]:
        """How jobs end when one worker finds them all in the queue."""
        with self.worker(**changes) as worker:
            worker.start()
            return [one.end() for one in seen]

    def files(self) -> list[str]:
        """Names of all files that clips have left."""
        return sorted(path.name for path in self.out.rglob("*") if path.is_file())


def pipeline_of(model: VideoModel) -> VideoPipeline:
    """The pipeline of a loaded model of VideoCrafter's family."""
    assert isinstance(model, VideoCrafterModel)
    return model.pipeline


def frames_of(end: Event) -> npt.NDArray[np.uint8]:
    assert isinstance(end, Finished), end
    return watch_video(end.result.path).frames


@contextmanager
def before(kind: type[nn.Module], act: Callable[[nn.Module, Any], None]) -> Iterator[None]:
    """Act whenever a module of a kind is about to run."""

    def hook(module: nn.Module, inputs: Any) -> None:
        if isinstance(module, kind):
            act(module, inputs)

    handle = register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def after(kind: type[nn.Module], act: Callable[[Any], None]) -> Iterator[None]:
    """Change what modules of a kind return."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(module, kind):
            act(output)

    handle = register_module_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def memory_for(samples: int, kind: type[nn.Module] = VideoUNet) -> Iterator[list[int]]:
    """Let a network run out of memory with more samples; yields those of each call."""
    asked: list[int] = []

    def act(module: nn.Module, inputs: Any) -> None:
        asked.append(len(inputs[0]))
        if len(inputs[0]) > samples:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")

    with before(kind, act):
        yield asked


class Blocked:
    """Stops the first thread that runs a network, until it is let go."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.times = 0

    def act(self, module: nn.Module, inputs: Any) -> None:
        self.times += 1
        if not self.go_on.is_set():
            self.reached.set()
            self.go_on.wait(PATIENCE_S)
