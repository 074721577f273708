"""Messages between the engine's process and an actor's."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from engine.serving.events import Event
from engine.serving.request import ResolvedSettings
from engine.serving.status import WorkerStatus


@dataclass(frozen=True, slots=True)
class JobOrder:
    """A clip to be made."""

    job_id: str
    settings: ResolvedSettings


@dataclass(frozen=True, slots=True)
class ClipFiles:
    """The two files of a finished job, byte for byte."""

    clip: bytes
    sidecar: bytes


@dataclass(frozen=True, slots=True)
class JobEvent:
    """An event of a job; with `Finished` come the files, whose paths there mean nothing here."""

    job_id: str
    event: Event
    files: ClipFiles | None = None


@dataclass(frozen=True, slots=True)
class LogLine:
    """Line of the log of the actor's process.

    Attributes:
        logger: the logger's name.
        level: as in `logging`.
        text: the message, and the traceback if there is one.
    """

    logger: str
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """Machine and device of an actor.

    Attributes:
        host: the name of its machine.
        pid: its process there.
        device: a torch device name.
        kind: what devices that are equally fast have in common.
    """

    host: str
    pid: int
    device: str
    kind: str


@dataclass(frozen=True, slots=True)
class WorkerUpdate:
    """Events, log and status of an actor since the last update.

    Attributes:
        events: of jobs, in their order.
        lines: of the log, in their order.
        status: of now; its device is the actor's name for it.
        limits: by batch key, how many such jobs the actor takes at once.
    """

    events: tuple[JobEvent, ...]
    lines: tuple[LogLine, ...]
    status: WorkerStatus
    limits: Mapping[Hashable, int]
