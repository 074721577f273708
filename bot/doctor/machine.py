"""Checks of the machine: folders, disk, database, ffmpeg, devices."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import torch

from bot.doctor.report import DiagnosticResult, Status
from bot.lifecycle.requirements import StartupError, check_folder
from bot.settings import Settings
from bot.store.maintenance.lost import is_blank, lost_database
from common.disk import free_bytes
from engine.serving import Engine
from engine.serving.media.mp4 import EncoderMissingError, find_ffmpeg

_SPARE_MB: Final = 768
"""Warn the operator below this much space beyond the need of new clips."""

_VERSION_TIMEOUT_S: Final = 30


def check_machine(settings: Settings, engine: Engine) -> Iterator[DiagnosticResult]:
    """Run every check that needs neither a model nor the network."""
    yield _data_folder(settings.data_dir, settings.limits.min_free_mb)
    if settings.database.url is None:
        yield _database(settings.database_path)
    yield _ffmpeg()
    yield _devices(engine)


def _data_folder(folder: Path, needed_mb: int) -> DiagnosticResult:
    try:
        check_folder(folder)
    except StartupError as error:
        return DiagnosticResult(
            "data folder", Status.FAIL, str(error), "Set data_dir to a writable folder."
        )
    free = free_bytes(folder) // 2**20
    detail = f"{folder}, {free:,} MiB free"
    if free < needed_mb:
        advice = f"Free at least {needed_mb} MiB; limits.min_free_mb asks for them."
        return DiagnosticResult("data folder", Status.FAIL, detail, advice)
    if free < needed_mb + _SPARE_MB:
        return DiagnosticResult("data folder", Status.WARN, detail, "Free some space soon.")
    return DiagnosticResult("data folder", Status.OK, detail)


def _database(path: Path) -> DiagnosticResult:
    try:
        check_folder(path.parent)
    except StartupError:
        return DiagnosticResult(
            "database",
            Status.FAIL,
            f"{path} cannot be made: its folder cannot be used",
            "See the data folder above.",
        )
    if is_blank(path):
        if (problem := lost_database(path)) is not None:
            advice = "Put back a backup with `python -m bot restore BACKUP`."
            return DiagnosticResult("database", Status.FAIL, problem, advice)
        return DiagnosticResult("database", Status.OK, f"{path} will be made at the first start")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            verdict = database.execute("PRAGMA quick_check").fetchone()[0]
            jobs = database.execute("SELECT count(*) FROM jobs").fetchone()[0]
    except sqlite3.Error as error:
        return DiagnosticResult(
            "database", Status.FAIL, f"{path}: {error}", "Put back a backup, or move the file away."
        )
    if verdict != "ok":
        return DiagnosticResult("database", Status.FAIL, f"{path}: {verdict}", "Put back a backup.")
    return DiagnosticResult("database", Status.OK, f"{path}, {jobs} job{'' if jobs == 1 else 's'}")


def _ffmpeg() -> DiagnosticResult:
    advice = "Install imageio-ffmpeg again, or set IMAGEIO_FFMPEG_EXE to an ffmpeg with libx264."
    try:
        executable = find_ffmpeg()
        done = subprocess.run(
            [executable, "-version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT_S,
            check=True,
        )
    except (EncoderMissingError, OSError, subprocess.SubprocessError) as error:
        return DiagnosticResult("ffmpeg", Status.FAIL, str(error), advice)
    version = done.stdout.splitlines()[0] if done.stdout else "no version"
    return DiagnosticResult("ffmpeg", Status.OK, f"{version.split(' Copyright')[0]} ({executable})")


def _devices(engine: Engine) -> DiagnosticResult:
    names = []
    for device in engine.devices:
        if device.startswith("cuda"):
            properties = torch.cuda.get_device_properties(device)
            names.append(f"{device}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
        else:
            names.append(device)
    detail = "; ".join(names)
    if engine.devices == ("cpu",):
        return DiagnosticResult(
            "devices", Status.OK, f"{detail}: enough for the demo models, slow for large ones"
        )
    return DiagnosticResult("devices", Status.OK, detail)
