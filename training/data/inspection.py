"""Looking at a data set before training on it: what is there, and what is broken."""

from __future__ import annotations

import io
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from training.data.buckets import Bucket, Buckets, enlargement
from training.data.config import ResolutionConfig, WindowConfig
from training.data.errors import SampleError, about_sample
from training.data.images import find_cuts, fit, read_picture
from training.data.reader import media_bytes
from training.data.sources import DataSource, MediaKind, Sample
from training.data.text import printable
from training.data.video import VideoFacts, probe_video, read_frames

NAMED_BROKEN = 20
CUT_FRAMES = 16
CUT_STRIDE = 4
_LOOK = Bucket(64, 64)  # small frames tell cuts as well as large ones


@dataclass(frozen=True, slots=True)
class ValueRange:
    """Least, middle and greatest of some numbers."""

    minimum: float
    median: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Broken:
    """A sample that cannot be used, and why."""

    key: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Captions:
    """Numbers of samples with no caption, an empty one, or the same one as an earlier sample."""

    missing: int = 0
    empty: int = 0
    duplicated: int = 0


@dataclass(frozen=True, slots=True)
class DataReport:
    """The findings on a data set. Numbers are of the ``checked`` samples, spread over the set.

    ``usable`` samples decode and have a caption; ``broken`` counts the others by reason, and
    ``broken_samples`` names the first of them. ``too_small`` of the usable ones would have to be
    enlarged too much for their bucket. ``with_cuts`` of the ``videos`` show a hard cut in the 16
    frames around their middle. Sizes are pixels, durations seconds.
    """

    kind: str
    samples: int
    checked: int
    usable: int
    videos: int
    pictures: int
    captions: Captions
    too_small: int
    with_cuts: int
    broken: dict[str, int] = field(default_factory=dict)
    broken_samples: tuple[Broken, ...] = ()
    width: ValueRange | None = None
    height: ValueRange | None = None
    fps: ValueRange | None = None
    duration: ValueRange | None = None
    buckets: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Inspected:
    key: str
    kind: MediaKind | None = None
    caption: str | None = None
    error: SampleError | None = None
    facts: VideoFacts | None = None
    cut: bool = False


def inspect_source(
    source: DataSource,
    resolution: ResolutionConfig,
    *,
    limit: int = 0,
    cut_threshold: float | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> DataReport:
    """Decode samples of a source, videos at their beginning, in the middle and near the end.

    Args:
        source: the data set.
        resolution: sizes whose buckets are counted.
        limit: samples to look at, spread evenly over the set; 0 looks at all.
        cut_threshold: of find_cuts (default: that of recipes).
        workers: decoding threads.
        progress: called with how many were looked at, of how many.
    """
    total = sum(source.groups)
    count = min(limit, total) if limit else total
    threshold = WindowConfig().cut_threshold if cut_threshold is None else cut_threshold
    indices = [index * total // count for index in range(count)]
    looks: list[_Inspected] = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        # A few hundred at a time: a pool would take all of ten million in hand at once.
        for start in range(0, count, 256):
            part = indices[start : start + 256]
            looks += pool.map(lambda index: _look(source, index, threshold), part)
            progress(len(looks), count)
    return _report(source, looks, resolution)


def _look(source: DataSource, index: int, threshold: float) -> _Inspected:
    try:
        with about_sample(f"sample {index}"):
            sample = source.sample(index)
    except SampleError as error:
        return _Inspected(f"sample {index}", error=error)
    try:
        with about_sample(sample.key):
            facts, cut = _decode(sample, threshold)
    except SampleError as error:
        return _Inspected(sample.key, sample.kind, sample.caption, error)
    return _Inspected(sample.key, sample.kind, sample.caption, None, facts, cut)


def _decode(sample: Sample, threshold: float) -> tuple[VideoFacts, bool]:
    data = media_bytes(sample)
    if sample.kind == "picture":
        pixels = read_picture(data)
        return VideoFacts(pixels.shape[1], pixels.shape[0], 1, 1), False
    facts = probe_video(io.BytesIO(data))
    stride = max(1, min(CUT_STRIDE, facts.frames // CUT_FRAMES))
    frames = min(CUT_FRAMES, facts.frames)
    start = (facts.frames - (frames - 1) * stride - 1) // 2
    indices = range(start, start + frames * stride, stride)
    window = torch.stack([fit(frame, _LOOK) for frame in read_frames(io.BytesIO(data), indices)])
    near_end = facts.frames * 9 // 10
    next(read_frames(io.BytesIO(data), [near_end]))
    return facts, bool(find_cuts(window, threshold))


def _report(
    source: DataSource, looks: Sequence[_Inspected], resolution: ResolutionConfig
) -> DataReport:
    buckets = Buckets(resolution)
    filled: Counter[str] = Counter()
    too_small = 0
    good = [(look, look.facts) for look in looks if look.facts is not None]
    for _, facts in good:
        bucket = buckets.nearest(facts.width, facts.height)
        if enlargement(facts.width, facts.height, bucket) > resolution.max_enlargement:
            too_small += 1
        else:
            filled[str(bucket)] += 1
    bad = [(look.key, look.error) for look in looks if look.error is not None]
    videos = [facts for look, facts in good if look.kind == "video"]
    # A sample that cannot even be listed has no caption that could be missed.
    words = [look.caption for look in looks if look.kind is not None]
    texts = Counter(text for text in words if text)
    return DataReport(
        kind=source.kind,
        samples=sum(source.groups),
        checked=len(looks),
        usable=sum(1 for look, _ in good if look.caption),
        videos=len(videos),
        pictures=len(good) - len(videos),
        captions=Captions(
            missing=words.count(None),
            empty=words.count(""),
            duplicated=texts.total() - len(texts),
        ),
        too_small=too_small,
        with_cuts=sum(look.cut for look, _ in good),
        broken=dict(Counter(error.reason for _, error in bad).most_common()),
        broken_samples=tuple(
            Broken(key, error.reason, error.detail) for key, error in bad[:NAMED_BROKEN]
        ),
        width=_spread([facts.width for _, facts in good]),
        height=_spread([facts.height for _, facts in good]),
        fps=_spread([facts.fps for facts in videos]),
        duration=_spread([facts.duration for facts in videos]),
        buckets=dict(filled.most_common()),
        notes=source.notes,
    )


def _spread(values: Sequence[float]) -> ValueRange | None:
    if not values:
        return None
    return ValueRange(min(values), statistics.median(values), max(values))


def as_text(report: DataReport) -> str:
    """The report for people."""
    decoded = f"{report.videos:,} videos and {report.pictures:,} pictures decode"
    words = report.captions
    lines = [
        f"{report.kind}: {report.samples:,} samples, {report.checked:,} looked at",
        f"usable     {report.usable:,} ({decoded})",
        f"captions   {words.missing:,} missing, {words.empty:,} empty, {words.duplicated:,} again",
    ]
    for name, spread, unit in (
        ("width", report.width, "px"),
        ("height", report.height, "px"),
        ("rate", report.fps, "fps"),
        ("duration", report.duration, "s"),
    ):
        if spread is not None:
            low, middle, high = (
                f"{v:.5g}" for v in (spread.minimum, spread.median, spread.maximum)
            )
            lines.append(f"{name:<10} {low} to {high} {unit}, half below {middle}")
    if report.videos:
        lines.append(f"hard cuts  in {report.with_cuts:,} of {report.videos:,} videos")
    sizes = ", ".join(f"{name} ({count:,})" for name, count in report.buckets.items())
    lines.append(f"buckets    {sizes or 'none filled'}; {report.too_small:,} samples too small")
    lines += [f"note       {note}" for note in report.notes]
    if report.broken:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in report.broken.items())
        lines.append(f"left out   {reasons}")
        lines += [f"  {b.key}: {b.reason}: {b.detail}" for b in report.broken_samples]
        rest = sum(report.broken.values()) - len(report.broken_samples)
        lines += [f"  and {rest:,} more"] if rest else []
    return "\n".join(printable(line) for line in lines)
