"""Clips that were made elsewhere: read a folder of them, and report what can be measured."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
from training.evaluation.metrics.metric import EvaluatedClip, measured, missing_needs
from training.evaluation.prompts import Prompt, recognise
from training.evaluation.records import ClipRecord
from training.evaluation.report import Report

PROMPTS_FILE = "prompts.txt"
MAX_FRAMES = 128
"""Longer clips are measured up to here."""
_AT_ONCE = 8
"""Clips that are in memory at a time."""
_LEAST_SIDE = 16
_LEAST_WORDS = 3
"""A file name of fewer words is no prompt."""


@dataclass(frozen=True, slots=True)
class FolderClip:
    """A clip of a folder, not read yet.

    Attributes:
        video: its file.
        prompt: that it was made for; "" where none is known.
        picture: that it began with, if there is one of its name.
    """

    video: Sample
    prompt: str
    picture: Sample | None

    def read(self) -> EvaluatedClip:
        """Decode the clip.

        Raises:
            SampleError: it is broken, or too small for the judge.
        """
        data = media_bytes(self.video)
        facts = probe_video(io.BytesIO(data))
        if min(facts.width, facts.height) < _LEAST_SIDE:
            size = f"{facts.width}x{facts.height}"
            raise SampleError("too small", f"{size} pixels, {_LEAST_SIDE} a side needed")
        indices = range(min(facts.frames, MAX_FRAMES))
        frames = np.stack(list(read_frames(io.BytesIO(data), indices))).transpose(0, 3, 1, 2)
        return EvaluatedClip(
            np.ascontiguousarray(frames),
            max(1, round(facts.fps)),
            None if self.picture is None else _fitted(self.picture, facts.height, facts.width),
        )


@dataclass(frozen=True, slots=True)
class ClipFolder:
    """The clips of a folder, and a line for each file that is none."""

    clips: tuple[FolderClip, ...]
    skipped: tuple[str, ...]


def list_clips(folder: Path) -> ClipFolder:
    """List the clips of a folder, or of a CSV file that names them.

    A prompt is taken from a CSV, a ``.txt`` or ``.json`` beside the clip, or a list of captions, as
    `training.data.sources` reads them; else from ``prompts.txt``, which has a line for each clip in
    the order of the names; else from the file's name. A picture of a clip's name is the one that
    the clip began with.

    Raises:
        DataError: there is no such folder, it holds no clips, or ``prompts.txt`` has too few or too
            many lines.
    """
    samples, skipped = _samples(open_source(DataSetConfig(path=folder)))
    videos = [sample for sample in samples if sample.kind == "video"]
    if not videos:
        raise DataError(f"{folder} holds no clips")
    lines = _listed_prompts(folder, len(videos))
    pictures = {_stem(s.key): s for s in samples if s.kind == "picture"}
    clips = tuple(
        FolderClip(
            video, video.caption or line or _prompt_of(video.key), pictures.get(_stem(video.key))
        )
        for video, line in zip(videos, lines, strict=True)
    )
    known = {_stem(video.key) for video in videos}
    skipped += [f"{s.key}: a picture, not a clip" for n, s in pictures.items() if n not in known]
    return ClipFolder(clips, tuple(skipped))


def evaluate_clips(folder: Path) -> Report:
    """Measure the clips of a folder by every metric that can be, a few clips at a time.

    Raises:
        DataError: see `list_clips`.
        TrainingError: none of the clips can be read.
    """
    listed = list_clips(folder)
    skipped = list(listed.skipped)
    records: list[ClipRecord] = []
    lacking: dict[str, str] = {}
    metrics = find_metrics()
    for start in range(0, len(listed.clips), _AT_ONCE):
        clips: list[EvaluatedClip] = []
        prompts: list[Prompt] = []
        for one in listed.clips[start : start + _AT_ONCE]:
            try:
                clips.append(one.read())
                prompts.append(recognise(one.prompt))
            except SampleError as error:
                skipped.append(printable(f"{one.video.key}: {error.reason} ({error.detail})"))
        values: dict[str, list[float | None]] = {}
        for metric in metrics:
            if missing := missing_needs(metric, clips, prompts):
                lacking[metric.name] = f"needs {' and '.join(missing)}"
                values[metric.name] = [None] * len(clips)
            else:
                values[metric.name] = measured(metric, clips, prompts)
        records += [
            ClipRecord.of_evaluated(
                clip,
                prompt,
                seed=start + place,
                first_frame_psnr=values["first_frame_psnr"][place],
                metrics={name: of_all[place] for name, of_all in values.items()},
            )
            for place, (clip, prompt) in enumerate(zip(clips, prompts, strict=True))
        ]
    if not records:
        raise TrainingError(f"no clip of {folder} can be measured; {skipped[-1]}")
    return _report(folder, records, lacking, skipped)


def _report(
    folder: Path, records: Sequence[ClipRecord], lacking: dict[str, str], skipped: Sequence[str]
) -> Report:
    """Put a report together; a metric of which no clip has a value is not measured."""
    names = records[0].metrics.keys()
    empty = [name for name in names if all(r.metrics[name] is None for r in records)]
    unmeasured = {name: lacking.get(name, "none of the clips has a value") for name in empty}
    unmeasured["fps_control"] = "needs clips of the same prompt and noise at several fps labels"
    kept = [
        replace(record, metrics={n: v for n, v in record.metrics.items() if n not in unmeasured})
        for record in records
    ]
    return Report(
        settings={"model": folder.stem, "task": "clips made elsewhere", "clips": str(folder)},
        clips=tuple(kept),
        unmeasured=unmeasured,
        skipped=tuple(skipped),
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


def _samples(source: DataSource) -> tuple[list[Sample], list[str]]:
    samples: list[Sample] = []
    skipped: list[str] = list(source.notes)
    for index in range(sum(source.groups)):
        try:
            samples.append(source.sample(index))
        except SampleError as error:
            skipped.append(printable(str(error)))
    return samples, skipped


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
