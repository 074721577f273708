"""Where clips go, and what is written beside them."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.serving.events import GenerationResult
from engine.serving.failures import DiskFullError
from engine.serving.requests import ResolvedSettings

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """The two files of a finished job, in one folder."""

    clip: Path
    sidecar: Path


def output_paths(output_dir: Path, job_id: str) -> OutputPaths:
    """``<output_dir>/<YYYY-MM>/<job_id>.mp4`` and ``.json`` (UTC); makes the folder."""
    folder = output_dir / datetime.now(UTC).strftime("%Y-%m")
    folder.mkdir(parents=True, exist_ok=True)
    return OutputPaths(folder / f"{job_id}.mp4", folder / f"{job_id}.json")


def check_free_space(output_dir: Path, min_free_mb: int) -> None:
    """Make the folder, and refuse to begin a job whose clip may not fit.

    Raises:
        DiskFullError: less than ``min_free_mb`` MiB are free.
        OSError: the folder cannot be made.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(output_dir).free // _MIB
    if free < min_free_mb:
        raise DiskFullError(f"{free} MiB are free in {output_dir}, {min_free_mb} are needed")


def clip_comment(settings: ResolvedSettings) -> str:
    """What it takes to make the clip again, as JSON of ASCII characters.

    It holds nothing that changes between two runs, so equal settings give equal files.
    """
    card = settings.model
    facts: dict[str, Any] = {
        "generator": "floor33",
        "model": card.name,
        "model_revision": card.revision,
        "scheduler": card.scheduler,
        "prompt": settings.prompt,
        "negative_prompt": settings.negative_prompt,
        "seed": settings.seed,
        "steps": settings.steps,
        "guidance": settings.guidance,
        "fps": settings.fps,
        "playback_fps": settings.playback_fps,
        "width": settings.width,
        "height": settings.height,
        "num_frames": settings.num_frames,
    }
    return json.dumps(facts)


def write_sidecar(result: GenerationResult, comment: str) -> None:
    """Write ``result.sidecar``: the comment's facts and how the job went. Complete or not at all.

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
    part = result.sidecar.with_name(f".{result.sidecar.stem}.part.json")
    try:
        part.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        os.replace(part, result.sidecar)
    finally:
        part.unlink(missing_ok=True)
