"""Output files: names of clips and sidecars, free space, atomic publication."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.disk import free_bytes, nearest_existing
from engine.serving.events import GenerationResult
from engine.serving.execution.failures import DISK_FULL_CODES, ClipFolderError, DiskFullError
from engine.serving.request import ResolvedSettings

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """The two files of a finished job, in one folder."""

    clip: Path
    sidecar: Path


def output_paths(output_dir: Path, job_id: str, *, private: bool = False) -> OutputPaths:
    """``<output_dir>/<YYYY-MM>/<job_id>.mp4`` and ``.json`` (UTC); makes the folders.

    ``private``: folders that are made are for this user only.
    """
    folder = output_dir / datetime.now(UTC).strftime("%Y-%m")
    for missing in (output_dir, folder):
        missing.mkdir(0o700 if private else 0o777, parents=True, exist_ok=True)
    return OutputPaths(folder / f"{job_id}.mp4", folder / f"{job_id}.json")


def free_space_problem(output_dir: Path, min_free_mb: int) -> str | None:
    """Return a sentence if no new work should be begun, for whoever asks for it; None if it may.

    For those who take requests: a job that does not fit is better refused than failed.

    Args:
        output_dir: where clips go; it, or a folder above it, exists.
        min_free_mb: MiB that have to be free.

    Raises:
        OSError: the disk does not answer.
    """
    free = free_bytes(nearest_existing(output_dir)) // _MIB
    if free >= min_free_mb:
        return None
    return (
        f"The disk of the machine that runs this is nearly full ({free} MiB are free, "
        f"{min_free_mb} are needed), so no new clip can be made until there is space again."
    )


def check_free_space(output_dir: Path, min_free_mb: int, *, private: bool = False) -> None:
    """Make the folder, and refuse to begin a job whose clip may not fit.

    Raises:
        DiskFullError: less than ``min_free_mb`` MiB are free.
        ClipFolderError: the folder cannot be made or written to.
    """
    try:
        folder = output_paths(output_dir, "", private=private).clip.parent
        if problem := free_space_problem(output_dir, min_free_mb):
            raise DiskFullError(f"{output_dir}: {problem}")
        # Permissions do not tell of disks that are mounted for reading only.
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0")
    except DiskFullError:
        raise
    except OSError as error:
        if error.errno in DISK_FULL_CODES:
            raise
        raise ClipFolderError(error.errno, error.strerror, str(output_dir)) from error


def clip_comment(settings: ResolvedSettings, *, with_prompt: bool = True) -> str:
    """Return what it takes to make the clip again, as JSON of ASCII characters.

    It holds nothing that changes between two runs, so equal settings give equal files. Without
    the prompt the clip can be handed on without the words of who asked for it.
    """
    card = settings.model
    facts: dict[str, Any] = {
        "generator": "floor33",
        "model_revision": card.revision,
        "scheduler": card.scheduler,
        "playback_fps": settings.playback_fps,
        **settings.params.stored(),
    }
    if not with_prompt:
        del facts["prompt"], facts["negative_prompt"]
    return json.dumps(facts)


def write_sidecar(path: Path, result: GenerationResult, comment: str) -> None:
    """Write the facts of a `clip_comment` and how the job went, as JSON.

    Raises:
        OSError: the file cannot be written.
    """
    facts = json.loads(comment) | {
        "job_id": result.job_id,
        "file": result.path.name,
        "duration_s": result.duration_s,
        "elapsed_s": round(result.elapsed_s, 3),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


@contextmanager
def staged(paths: OutputPaths) -> Iterator[OutputPaths]:
    """Names to write the files under until they are complete; what is left there is removed.

    They are new each time: a thread that has been given up may still write to its own.
    """
    token = secrets.token_hex(4)
    hidden = OutputPaths(
        *(
            path.with_name(f".{path.stem}.{token}{path.suffix}")
            for path in (paths.clip, paths.sidecar)
        )
    )
    try:
        yield hidden
    finally:
        hidden.clip.unlink(missing_ok=True)
        hidden.sidecar.unlink(missing_ok=True)


def publish_files(hidden: OutputPaths, paths: OutputPaths, *, private: bool = False) -> None:
    """Give staged files their names: the clip last, so that a clip that exists is complete.

    ``private``: only this user can read them, whatever the process's umask says.

    Raises:
        OSError: they cannot be renamed; neither is there then.
    """
    if private:
        hidden.sidecar.chmod(0o600)
        hidden.clip.chmod(0o600)
    os.replace(hidden.sidecar, paths.sidecar)
    try:
        os.replace(hidden.clip, paths.clip)
    except OSError:
        paths.sidecar.unlink(missing_ok=True)
        raise
