"""Clips that were made elsewhere: read a folder of them, and report what can be measured."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.pipelines.images import fit_to_clip_size
from training.data.config import DataSetConfig
from training.data.errors import DataError, SampleError
from training.data.images import read_picture
from training.data.reader import media_bytes
from training.data.sources import DataSource, Sample, open_source
from training.data.text import decode_leniently, printable
from training.data.video import probe_video, read_frames
from training.errors import TrainingError
from training.evaluation.metrics import find_metrics
from training.evaluation.metrics.metric import EvaluatedClip, Metric, missing_needs
from training.evaluation.prompts import Prompt, recognise
from training.evaluation.records import ClipRecord
from training.evaluation.report import Report

PROMPTS_FILE = "prompts.txt"
MAX_FRAMES = 128
"""Longer clips are measured up to here."""
_LEAST_SIDE = 16
_LEAST_WORDS = 3
"""A file name of fewer words is no prompt."""


@dataclass(frozen=True, slots=True)
class FolderClip:
    """A clip of a folder, and the prompt that it was made for ("" where none is known)."""

    name: str
    prompt: str
    clip: EvaluatedClip


@dataclass(frozen=True, slots=True)
class ClipFolder:
    """The clips of a folder that can be measured, and a line for each file that cannot."""

    clips: tuple[FolderClip, ...]
    skipped: tuple[str, ...]


def read_clips(folder: Path) -> ClipFolder:
    """Read the clips of a folder, or of a CSV file that names them.

    A prompt is taken from a CSV, a ``.txt`` or ``.json`` beside the clip, or a list of captions, as
    `training.data.sources` reads them; else from ``prompts.txt``, which has a line for each clip in
    the order of the names; else from the file's name. A picture of a clip's name is the one that
    the clip began with.

    Raises:
        DataError: there is no such folder, it holds no clips, or ``prompts.txt`` has too few or too
            many lines.
    """
    source = open_source(DataSetConfig(path=folder))
    samples, skipped = _samples(source)
    videos = [sample for sample in samples if sample.kind == "video"]
    if not videos:
        raise DataError(f"{folder} holds no clips")
    listed = _listed_prompts(folder, len(videos))
    pictures = {_stem(s.key): s for s in samples if s.kind == "picture"}
    clips: list[FolderClip] = []
    for video, line in zip(videos, listed, strict=True):
        prompt = video.caption or line or _prompt_of(video.key)
        try:
            clip = _read(video, pictures.get(_stem(video.key)))
        except SampleError as error:
            skipped.append(_line(video.key, error))
            continue
        clips.append(FolderClip(video.key, prompt, clip))
    known = {_stem(video.key) for video in videos}
    skipped += [f"{s.key}: a picture, not a clip" for n, s in pictures.items() if n not in known]
    return ClipFolder(tuple(clips), tuple(skipped))


def evaluate_clips(folder: Path) -> Report:
    """Measure the clips of a folder by every metric that can be.

    Raises:
        DataError: see `read_clips`.
        TrainingError: none of the clips can be read.
    """
    read = read_clips(folder)
    if not read.clips:
        raise TrainingError(f"no clip of {folder} can be measured; {read.skipped[0]}")
    clips = [one.clip for one in read.clips]
    prompts = [recognise(one.prompt) for one in read.clips]
    values: dict[str, list[float | None]] = {}
    unmeasured: dict[str, str] = {}
    for metric in find_metrics():
        if reason := _why_not(metric, clips, prompts):
            unmeasured[metric.name] = reason
            continue
        values[metric.name] = metric.measure(clips, prompts)
        if all(value is None for value in values[metric.name]):
            unmeasured[metric.name] = "none of the clips has a value"
            del values[metric.name]
    unmeasured["fps_control"] = "needs clips of the same prompt and noise at several fps labels"
    records = [
        ClipRecord.of_evaluated(
            one.clip,
            prompt,
            seed=number,
            first_frame_psnr=_at(values, "first_frame_psnr", number),
            metrics={name: measured[number] for name, measured in values.items()},
        )
        for number, (one, prompt) in enumerate(zip(read.clips, prompts, strict=True))
    ]
    return Report(
        settings={
            "model": folder.stem,
            "task": "clips made elsewhere",
            "clips": str(folder),
            "files": ", ".join(one.name for one in read.clips),
        },
        clips=tuple(records),
        unmeasured=unmeasured,
        skipped=read.skipped,
    )


def summary(report: Report) -> str:
    """A few lines for a terminal."""
    units = {metric.name: metric.unit for metric in find_metrics()}
    lines = [
        f"{name:<18} {spread.mean:.4g} {units.get(name, '')} (mean of {spread.count})"
        for name, spread in report.metrics.items()
        if spread is not None
    ]
    lines += [f"{name:<18} not measured: {why}" for name, why in report.unmeasured.items()]
    return "\n".join([*lines, *(f"left out: {line}" for line in report.skipped)])


def _why_not(
    metric: Metric, clips: Sequence[EvaluatedClip], prompts: Sequence[Prompt]
) -> str | None:
    missing = missing_needs(metric, clips, prompts)
    return f"needs {' and '.join(missing)}" if missing else None


def _at(values: dict[str, list[float | None]], name: str, number: int) -> float | None:
    return values[name][number] if name in values else None


def _samples(source: DataSource) -> tuple[list[Sample], list[str]]:
    samples: list[Sample] = []
    skipped: list[str] = list(source.notes)
    for index in range(sum(source.groups)):
        try:
            samples.append(source.sample(index))
        except SampleError as error:
            skipped.append(printable(str(error)))
    return samples, skipped


def _read(video: Sample, picture: Sample | None) -> EvaluatedClip:
    data = media_bytes(video)
    facts = probe_video(io.BytesIO(data))
    if min(facts.width, facts.height) < _LEAST_SIDE:
        raise SampleError("too small", f"{facts.width}x{facts.height} pixels, 16 a side needed")
    indices = range(min(facts.frames, MAX_FRAMES))
    frames = np.stack(list(read_frames(io.BytesIO(data), indices))).transpose(0, 3, 1, 2)
    return EvaluatedClip(
        np.ascontiguousarray(frames),
        max(1, round(facts.fps)),
        None if picture is None else _fitted(picture, facts.height, facts.width),
    )


def _fitted(picture: Sample, height: int, width: int) -> Any:
    pixels = torch.from_numpy(read_picture(media_bytes(picture))).permute(2, 0, 1)[None]
    fitted = fit_to_clip_size(pixels.float() / 255, height, width)
    return (fitted[0] * 255).round().to(torch.uint8).numpy()


def _listed_prompts(folder: Path, count: int) -> Iterator[str]:
    path = (folder if folder.is_dir() else folder.parent) / PROMPTS_FILE
    if not path.is_file():
        return iter([""] * count)
    try:
        lines = [line.strip() for line in decode_leniently(path.read_bytes()).splitlines()]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) != count:
        raise DataError(f"{path} has {len(lines)} lines for {count} clips; a line each, in order")
    return iter(lines)


def _prompt_of(key: str) -> str:
    """The prompt in a file's name, as benchmarks write it: ``a red ball-0.mp4``, ``a_red_ball``."""
    words = re.sub(r"[-_ ]\d+$", "", Path(key).stem).replace("_", " ").split()
    return " ".join(words) if len(words) >= _LEAST_WORDS else ""


def _stem(key: str) -> str:
    return key.rpartition(".")[0]


def _line(key: str, error: SampleError) -> str:
    return printable(f"{key}: {error.reason} ({error.detail})")
