"""A crew of Ray actors with its queue; and actors that can be stopped inside a network.

Actors are processes of their own, so tests and actors talk through files in a folder of gates:

- ``hold-12`` stops every run of the UNet on latents 12 wide, until it is removed;
- ``at-12-PID-N`` tells that process PID came to its Nth such run;
- ``heard-JOB`` tells that an actor was asked to cancel a job.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from engine.models import VideoUNet
from engine.serving.backends import default_backends
from engine.serving.ray.actor import RenderActor
from engine.serving.ray.pool import RayWorkerPool
from engine.serving.scheduling.costs import DeviceCosts
from tests.engine.serving.workbench import Workbench

_PATIENCE_S = 300
"""Processes are started meanwhile, each of which imports all of the engine."""


class GatedActor(RenderActor):
    """Heeds the gates beside the folder of clips."""

    def __init__(self, settings: Any, *arguments: Any) -> None:
        self.gates = settings.output_dir.parent / "gates"
        self.runs = 0
        register_module_forward_pre_hook(self._before)
        super().__init__(settings, *arguments)

    def cancel(self, job_ids: Sequence[str]) -> None:
        super().cancel(job_ids)
        for job_id in job_ids:
            (self.gates / f"heard-{job_id}").touch()

    def _before(self, module: nn.Module, inputs: Any) -> None:
        if isinstance(module, VideoUNet):
            self.runs += 1
            width = inputs[0].shape[-1]
            (self.gates / f"at-{width}-{os.getpid()}-{self.runs}").touch()
            while (self.gates / f"hold-{width}").exists():
                time.sleep(0.02)


class Gates:
    """The test's side of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    @contextmanager
    def held(self, width: int) -> Iterator[None]:
        gate = self.folder / f"hold-{width}"
        gate.touch()
        try:
            yield
        finally:
            gate.unlink(missing_ok=True)

    def runs(self, width: int) -> dict[int, int]:
        """Runs of the UNet on such latents so far, by process."""
        counts: dict[int, int] = {}
        for path in self.folder.glob(f"at-{width}-*"):
            pid = int(path.name.split("-")[2])
            counts[pid] = counts.get(pid, 0) + 1
        return counts

    def clear(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()

    def wait(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            time.sleep(0.05)


class RayBench(Workbench):
    """Jobs for a crew of gated actors."""

    def __init__(self, models: dict[str, Path], folder: Path) -> None:
        super().__init__(models, folder)
        self.gates = Gates(folder / "gates")

    @contextmanager
    def crew(self, **changes: Any) -> Iterator[RayWorkerPool]:
        settings = self.settings(backend="ray", **changes)
        crew = RayWorkerPool(settings, self.queue, DeviceCosts({}), default_backends(), GatedActor)
        crew.start()
        try:
            yield crew
        finally:
            self.queue.close()
            crew.join()
