"""A cluster of one process, this one: actors without Ray, for what goes wrong around them.

Everything is what runs in a cluster but `RayCluster`, behind which Ray is.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.serving.backends import default_backends
from engine.serving.ray.actor import CALLS_AT_ONCE, RenderActor
from engine.serving.ray.actor_client import ActorClient
from engine.serving.ray.cluster import ClusterError
from engine.serving.ray.crash_counter import CrashCounter
from engine.serving.ray.protocol import WorkerInfo, WorkerUpdate
from engine.serving.ray.worker import RayWorker
from tests.engine.serving.workbench import Workbench


class NearActor(RenderActor):
    """An actor whose log needs no forwarding."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        logging.getLogger("engine").handlers.clear()

    def update(self, wait_s: float) -> WorkerUpdate:
        return replace(super().update(wait_s), lines=())


class Process:
    """Where an actor lives: several calls at once, until it dies."""

    def __init__(self, kind: type, arguments: tuple[Any, ...]) -> None:
        self.dead = threading.Event()
        self.deaf = False
        self.pool = ThreadPoolExecutor(CALLS_AT_ONCE)
        self.actor: Any = kind(*arguments)

    def die(self) -> None:
        self.dead.set()
        threading.Thread(target=self.actor.end, daemon=True).start()
        self.pool.shutdown(wait=False)


class NearSession:
    """What `RayCluster` offers."""

    def __init__(self) -> None:
        self.processes: list[Process] = []
        self.refuse = 0
        self.full = False
        self.options: list[Mapping[str, Any]] = []

    def gpus(self) -> int:
        return 0

    def start(self, kind: type, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Process:
        if self.refuse:
            self.refuse -= 1
            raise ClusterError("the head does not answer")
        self.options.append(options)
        process = Process(kind, arguments)
        process.deaf = self.full
        self.processes.append(process)
        return process

    def call(self, process: Process, method: str, *arguments: Any) -> tuple[Process, Future[Any]]:
        if process.deaf or process.dead.is_set():
            return process, Future()
        return process, process.pool.submit(getattr(process.actor, method), *arguments)

    def arrived(self, reference: tuple[Process, Future[Any]], timeout_s: float) -> bool:
        process, future = reference
        done, _ = wait([future], timeout_s / 10)
        return bool(done) or process.dead.is_set()

    def get(self, reference: tuple[Process, Future[Any]], timeout_s: float) -> Any:
        process, future = reference
        if process.dead.is_set():
            raise ClusterError("The actor died unexpectedly.")
        try:
            return future.result(timeout_s / 10)
        except Exception as error:
            raise ClusterError(repr(error)) from error

    def kill(self, process: Process) -> None:
        if not process.dead.is_set():
            process.die()


class NearBench(Workbench):
    """Jobs for one worker whose actors live here."""

    def __init__(self, models: dict[str, Path], folder: Path) -> None:
        super().__init__(models, folder)
        self.session = NearSession()
        self.losses = CrashCounter()
        self.hellos: list[tuple[str, WorkerInfo]] = []

    @property
    def process(self) -> Process:
        """Where the newest actor lives."""
        return self.session.processes[-1]

    @contextmanager
    def near_worker(self, kind: type = NearActor, **changes: Any) -> Iterator[RayWorker]:
        settings = self.settings(backend="ray", **changes)
        session: Any = self.session
        connect: Callable[..., ActorClient] = lambda models: ActorClient(  # noqa: E731
            session, kind, settings, models, default_backends()
        )
        worker = RayWorker(
            "ray:0",
            self.queue,
            settings,
            connect,
            self.losses,
            lambda name, hello: self.hellos.append((name, hello)),
        )
        try:
            yield worker
        finally:
            self.queue.close()
            worker.join()
