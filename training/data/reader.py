"""From a sample to pixels: the window, the crop, and everything that can be wrong on the way."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.data.buckets import Bucket, Buckets, enlargement
from training.data.config import ResolutionConfig, WindowConfig
from training.data.errors import SampleError
from training.data.images import find_cuts, fit, picture_size, read_picture
from training.data.sources import DataSource, Sample, Slice
from training.data.synthetic import CANVAS, SyntheticScene, render
from training.data.video import VideoFacts, probe_video, read_frames, video_size
from training.data.windows import Window, draw_window

PROCEDURAL_FRAMES = 16


@dataclass(frozen=True, slots=True)
class Clip:
    """``frames [F, 3, H, W]`` uint8, its caption, and the fps label (0 for one picture)."""

    key: str
    frames: Tensor
    caption: str
    fps: float


class MediaReader:
    """Reads the samples of a source as clips, or as single pictures.

    Args:
        source: the data set.
        resolution: sizes to crop to.
        window: how windows are drawn from clips; None makes pictures, of videos a random frame.
        missing_caption: ``"skip"`` refuses samples without one, ``"empty"`` takes them.
    """

    def __init__(
        self,
        source: DataSource,
        resolution: ResolutionConfig,
        window: WindowConfig | None,
        *,
        missing_caption: str = "skip",
    ) -> None:
        self.source = source
        self.buckets = Buckets(resolution)
        self._resolution = resolution
        self._window = window
        self._missing_caption = missing_caption

    def bucket(self, index: int) -> Bucket:
        """The size that a sample belongs to, from its metadata or header.

        Raises:
            SampleError: it cannot be used.
        """
        sample = self._sample(index)
        if len(self.buckets.sizes) == 1:
            return self.buckets.sizes[0]
        if sample.width and sample.height:
            return self.buckets.nearest(sample.width, sample.height)
        with _named(sample):
            return self.buckets.nearest(*shown_size(sample))

    def load(self, index: int, bucket: Bucket, rng: np.random.Generator) -> Clip:
        """Decode a sample, cropped to the bucket; everything random comes from ``rng``.

        Raises:
            SampleError: it cannot be used.
        """
        sample = self._sample(index)
        place = (0.5, 0.5)
        if self._resolution.crop == "random":
            place = (float(rng.random()), float(rng.random()))
        with _named(sample):
            if sample.kind == "picture":
                return self._picture(sample, bucket, place)
            return self._clip(sample, bucket, place, rng)

    def _sample(self, index: int) -> Sample:
        sample = self.source.sample(index)
        if not sample.caption and self._missing_caption == "skip":
            raise SampleError("no caption", sample.key)
        if sample.kind == "picture" and self._window is not None:
            raise SampleError("not a video", f"{sample.key} is a picture")
        return sample

    def _picture(self, sample: Sample, bucket: Bucket, place: tuple[float, float]) -> Clip:
        pixels = read_picture(media_bytes(sample))
        self._check_size(pixels.shape[1], pixels.shape[0], bucket)
        return Clip(sample.key, fit(pixels, bucket, place)[None], sample.caption or "", 0.0)

    def _clip(
        self, sample: Sample, bucket: Bucket, place: tuple[float, float], rng: np.random.Generator
    ) -> Clip:
        data = None if isinstance(sample.media, SyntheticScene) else media_bytes(sample)
        facts = sample_facts(sample, data)
        self._check_size(facts.width, facts.height, bucket)
        caption = sample.caption or ""
        if self._window is None:
            start = int(rng.integers(facts.frames))
            return Clip(
                sample.key, _read(sample, data, range(start, start + 1), bucket, place), caption, 0
            )
        for _ in range(self._window.tries):
            window: Window = draw_window(facts.frames, facts.fps, self._window, rng)
            frames = _read(sample, data, window.indices, bucket, place)
            if not find_cuts(frames, self._window.cut_threshold):
                return Clip(sample.key, frames, caption, window.fps)
        raise SampleError("hard cuts", f"in each of {self._window.tries} windows")

    def _check_size(self, width: int, height: int, bucket: Bucket) -> None:
        factor = enlargement(width, height, bucket)
        if factor > self._resolution.max_enlargement:
            raise SampleError(
                "too small", f"{width}x{height} pixels would be enlarged {factor:.2f} times"
            )


@contextmanager
def _named(sample: Sample) -> Iterator[None]:
    """Say of errors which sample they are about."""
    try:
        yield
    except SampleError as error:
        raise SampleError(error.reason, f"{sample.key}: {error.detail}") from error


def media_bytes(sample: Sample) -> bytes:
    """The encoded bytes of a sample on disk.

    Raises:
        SampleError: they cannot be read.
    """
    assert isinstance(sample.media, Slice), "a procedural scene has no bytes"
    try:
        return sample.media.read()
    except OSError as error:
        raise SampleError("missing file", f"{sample.media.path}: {error.strerror}") from error


def shown_size(sample: Sample) -> tuple[int, int]:
    """Width and height in pixels, from the header.

    Raises:
        SampleError: the sample cannot be read.
    """
    if isinstance(sample.media, SyntheticScene):
        return CANVAS, CANVAS
    try:
        with sample.media.open() as file:
            if sample.kind == "picture":
                return picture_size(file)
            return video_size(file)
    except OSError as error:
        raise SampleError("missing file", f"{sample.media.path}: {error.strerror}") from error


def sample_facts(sample: Sample, data: bytes | None) -> VideoFacts:
    """Facts of a video sample, whose bytes are ``data`` (None for a procedural scene).

    Raises:
        SampleError: the video is broken.
    """
    if isinstance(sample.media, SyntheticScene):
        return VideoFacts(CANVAS, CANVAS, sample.media.fps, PROCEDURAL_FRAMES)
    assert data is not None, "a video on disk comes with its bytes"
    return probe_video(io.BytesIO(data))


def _read(
    sample: Sample,
    data: bytes | None,
    indices: range,
    bucket: Bucket,
    place: tuple[float, float],
) -> Tensor:
    """Frames ``[F, 3, H, W]``, each cropped as it is decoded, so large videos need no memory."""
    if isinstance(sample.media, SyntheticScene):
        scene = render(sample.media, indices).permute(0, 2, 3, 1).contiguous().numpy()
        return torch.stack([fit(frame, bucket, place) for frame in scene])
    assert data is not None, "a video on disk comes with its bytes"
    return torch.stack([fit(f, bucket, place) for f in read_frames(io.BytesIO(data), indices)])
