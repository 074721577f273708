"""Windows and buckets: laws that hold for every clip and every setting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from training.data.buckets import Bucket, Buckets
from training.data.config import DataSetConfig, ResolutionConfig, WindowConfig
from training.data.errors import SampleError
from training.data.windows import draw_window

RATES = st.sampled_from([8.0, 15.0, 23.976, 24.0, 25.0, 29.97, 30.0, 59.94, 60.0])
SEEDS = st.integers(0, 2**32)


@settings(max_examples=50, deadline=None)
@given(
    available=st.integers(1, 500),
    fps=RATES,
    frames=st.integers(1, 32),
    strides=st.tuples(st.integers(1, 8), st.integers(1, 8)).map(sorted),
    seed=SEEDS,
)
def test_windows_lie_in_the_clip_and_label_times_stride_is_the_native_rate(
    available: int, fps: float, frames: int, strides: list[int], seed: int
) -> None:
    config = WindowConfig(frames=frames, min_stride=strides[0], max_stride=strides[1])
    rng = np.random.default_rng(seed)
    if (frames - 1) * strides[0] + 1 > available:
        with pytest.raises(SampleError, match="too short"):
            draw_window(available, fps, config, rng)
        return
    window = draw_window(available, fps, config, rng)
    assert len(window.indices) == frames
    assert window.indices[0] >= 0
    assert window.indices[-1] < available
    assert strides[0] <= window.stride <= strides[1]
    assert window.fps * window.stride == pytest.approx(fps)


@settings(max_examples=50, deadline=None)
@given(fps=RATES, jitter=st.floats(0.0, 0.5), seed=SEEDS)
def test_jitter_moves_the_label_within_its_share(fps: float, jitter: float, seed: int) -> None:
    config = WindowConfig(frames=4, max_stride=3, fps_jitter=jitter)
    window = draw_window(100, fps, config, np.random.default_rng(seed))
    assert abs(window.fps * window.stride / fps - 1) <= jitter + 1e-9


def test_every_stride_and_start_is_drawn() -> None:
    config = WindowConfig(frames=4, max_stride=6, fps_jitter=0.1)
    drawn = [draw_window(16, 24, config, np.random.default_rng(seed)) for seed in range(400)]
    # Sixteen frames allow strides up to five.
    shares = [sum(w.stride == stride for w in drawn) / 400 for stride in range(1, 7)]
    assert shares[5] == 0
    assert all(0.12 < share < 0.28 for share in shares[:5])
    assert {w.start for w in drawn if w.stride == 5} == {0}
    assert {w.start for w in drawn if w.stride == 1} == set(range(13))
    assert len({w.fps for w in drawn}) > 300


@settings(max_examples=50, deadline=None)
@given(
    width=st.integers(4, 64).map(lambda n: n * 16),
    height=st.integers(4, 64).map(lambda n: n * 16),
    max_aspect=st.floats(1.0, 4.0),
)
def test_buckets_keep_area_multiple_and_aspect(width: int, height: int, max_aspect: float) -> None:
    config = ResolutionConfig(width=width, height=height, multiple=64, max_aspect=max_aspect)
    sizes = Buckets(config).sizes
    stated = Bucket(width, height)
    assert stated in sizes
    for size in set(sizes) - {stated}:
        assert size.width % 64 == 0
        assert size.height % 64 == 0
        assert max(size.width, size.height) <= max_aspect * min(size.width, size.height)
        # Half a step of height is what rounding can cost.
        assert abs(size.width * size.height - width * height) <= 32 * max(
            size.width, size.height
        ) or 64 in (size.width, size.height)


def test_the_buckets_of_the_second_stage() -> None:
    buckets = Buckets(ResolutionConfig(width=512, height=320))
    assert [str(size) for size in buckets.sizes] == ("320x512 384x448 448x384 512x320".split())
    assert buckets.nearest(1920, 1080) == Bucket(512, 320)
    assert buckets.nearest(1080, 1920) == Bucket(320, 512)
    assert buckets.nearest(640, 400) == Bucket(512, 320)


@settings(max_examples=50, deadline=None)
@given(width=st.integers(1, 5000), height=st.integers(1, 5000))
def test_a_sample_goes_where_least_is_cropped(width: int, height: int) -> None:
    buckets = Buckets(ResolutionConfig(width=512, height=320))

    def kept(size: Bucket) -> float:
        ratio = (width / height) / (size.width / size.height)
        return min(ratio, 1 / ratio)

    best = max(map(kept, buckets.sizes))
    assert math.isclose(kept(buckets.nearest(width, height)), best)


def test_without_buckets_there_is_one_size() -> None:
    config = ResolutionConfig(width=512, height=320, buckets=False)
    assert Buckets(config).sizes == (Bucket(512, 320),)


@pytest.mark.parametrize(
    ("model", "values", "words"),
    [
        (ResolutionConfig, {"width": 100, "height": 64}, "width"),
        (ResolutionConfig, {"width": 64, "height": 64, "crop": "left"}, "crop"),
        (WindowConfig, {"min_stride": 5, "max_stride": 2}, "min_stride 5 is above max_stride 2"),
        (WindowConfig, {"stride": 5}, "stride"),
        (DataSetConfig, {}, "path is needed"),
        (DataSetConfig, {"path": "x", "kind": "procedural"}, "path is needed"),
    ],
)
def test_wrong_sections_name_the_key(
    model: type[ResolutionConfig | WindowConfig | DataSetConfig],
    values: dict[str, object],
    words: str,
) -> None:
    with pytest.raises(ValidationError, match=words):
        model.model_validate(values)
