"""Loading: the order of draws, what a batch holds, and what happens to samples that fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.data.sets import data_config, jpeg, picture_shard, write_mp4, write_shard
from training.data.buckets import Bucket
from training.data.config import DataConfig, DataSetConfig, ResolutionConfig, WindowConfig
from training.data.errors import DataError, SampleError
from training.data.joint import ImageVideoLoader, MediaBatch, is_picture_step
from training.data.order import DeterministicSampler
from training.data.planner import BucketBatchSampler

GROUPS = st.lists(st.integers(0, 7), min_size=1, max_size=20).filter(lambda groups: sum(groups) > 0)


def steps(config: DataConfig, wanted: range, rank: int = 0, world: int = 1) -> list[MediaBatch]:
    with ImageVideoLoader(config, batch_size=2 * world, seed=5, rank=rank, world=world) as loader:
        return [loader.step(step) for step in wanted]


def assert_same(one: list[MediaBatch], other: list[MediaBatch]) -> None:
    assert [batch.keys for batch in one] == [batch.keys for batch in other]
    assert [batch.captions for batch in one] == [batch.captions for batch in other]
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a.frames, b.frames)
        assert torch.equal(a.fps, b.fps)


# Order


@settings(max_examples=25, deadline=None)
@given(groups=GROUPS, seed=st.integers(0, 99), world=st.integers(1, 4), mixed=st.integers(1, 5))
def test_every_epoch_goes_once_through_all_samples_of_all_ranks(
    groups: list[int], seed: int, world: int, mixed: int
) -> None:
    size = sum(groups)
    orders = [
        DeterministicSampler(groups, seed=seed, rank=rank, world=world, mixed=mixed)
        for rank in range(world)
    ]
    drawn = [orders[n % world].index(n // world) for n in range(3 * size)]
    for epoch in range(3):
        assert sorted(drawn[epoch * size : (epoch + 1) * size]) == list(range(size))


@settings(max_examples=25, deadline=None)
@given(groups=GROUPS, numbers=st.lists(st.integers(0, 200), min_size=1, max_size=20))
def test_a_draw_does_not_depend_on_those_before(groups: list[int], numbers: list[int]) -> None:
    used = DeterministicSampler(groups, seed=1)
    assert [used.index(n) for n in numbers] == [
        DeterministicSampler(groups, seed=1).index(n) for n in numbers
    ]


def test_seeds_streams_and_epochs_differ() -> None:
    def first(seed: int, stream: int, start: int = 0) -> list[int]:
        order = DeterministicSampler([50], seed=seed, stream=stream)
        return [order.index(n) for n in range(start, start + 50)]

    orders = [first(0, 0), first(1, 0), first(0, 1), first(0, 0, start=50)]
    assert len({tuple(order) for order in orders}) == 4


def test_shards_are_read_a_few_at_a_time() -> None:
    order = DeterministicSampler([10] * 12, seed=0, mixed=3)
    shards = [order.index(n) // 10 for n in range(120)]
    assert [len(set(shards[i : i + 30])) for i in range(0, 120, 30)] == [3, 3, 3, 3]
    assert len(set(shards[:10])) > 1


def test_randomness_differs_between_draws_ranks_and_uses() -> None:
    zero, one = (DeterministicSampler([9], seed=0, rank=rank, world=2) for rank in (0, 1))
    draws = {g.random() for order in (zero, one) for g in map(order.generator, range(50))}
    draws |= {g.random() for g in map(zero.block_generator, range(50))}
    # The loop draws from [seed, step, rank].
    draws |= {np.random.default_rng([0, step, 0]).random() for step in range(50)}
    assert len(draws) == 200


# Planning


@settings(max_examples=25, deadline=None)
@given(
    buckets=st.lists(st.integers(1, 4), min_size=1, max_size=60),
    batch_size=st.sampled_from([64, 150]),
    block=st.integers(0, 3),
)
def test_batches_hold_one_bucket_and_full_ones_use_every_draw_once(
    buckets: list[int], batch_size: int, block: int
) -> None:
    order = DeterministicSampler([len(buckets)], seed=3)
    planner = BucketBatchSampler(order, lambda index: Bucket(16 * buckets[index], 16), batch_size)
    plan = planner.block(block)
    assert len(plan.batches) == planner.block_batches
    for batch in plan.batches:
        assert len(batch.indices) == batch_size
        assert {16 * buckets[index] for index in batch.indices} == {batch.bucket.width}
        assert set(batch.indices) <= set(batch.fallbacks)
    assert plan == planner.block(block)


def test_rare_buckets_count_as_much_as_they_are_frequent() -> None:
    order = DeterministicSampler([100], seed=0)
    planner = BucketBatchSampler(order, lambda index: Bucket(16 if index < 7 else 32, 16), 64)
    plans = [planner.block(block) for block in range(60)]
    widths = Counter(batch.bucket.width for plan in plans for batch in plan.batches)
    assert widths[16] / widths.total() == pytest.approx(0.07, abs=0.012)


def test_unusable_draws_get_stand_ins() -> None:
    def bucket(index: int) -> Bucket:
        if index % 2:
            raise SampleError("odd", str(index))
        return Bucket(16, 16)

    plan = BucketBatchSampler(DeterministicSampler([100], seed=0), bucket, 128).block(0)
    assert all(index % 2 == 0 for batch in plan.batches for index in batch.indices)
    assert len(plan.errors) > 200


# Loading


def test_clips_come_as_promised(folder_set: Path) -> None:
    (batch,) = steps(data_config(folder_set), range(1))
    assert batch.frames.shape == (2, 4, 3, 64, 64)
    assert batch.frames.dtype == torch.float32
    assert -1 <= batch.frames.min() < batch.frames.max() <= 1
    assert not batch.pictures
    for frames, fps, key, caption in zip(
        batch.frames, batch.fps, batch.keys, batch.captions, strict=True
    ):
        assert caption == f"clip number {key.removeprefix('good-').removesuffix('.mp4')}"
        shown = ((frames.mean(dim=(1, 2, 3)) + 1) * 127.5 / 4).round()
        (stride,) = set(shown.diff().int().tolist())
        assert fps.item() * stride == pytest.approx(24)


def test_broken_clips_are_replaced_counted_and_logged(
    folder_set: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ImageVideoLoader(data_config(folder_set), batch_size=4, seed=0) as loader:
        keys = {key for step in range(12) for key in loader.step(step).keys}
        skipped = loader.skipped
    assert keys == {f"good-{number}.mp4" for number in range(6)}
    assert set(skipped) == {"skipped clips, broken video", "skipped clips, no caption"}
    assert all(count > 0 for count in skipped.values())
    assert "no caption: mute.mp4" in caplog.text
    assert "broken video: noise.mp4" in caplog.text
    assert caplog.text.count("no caption: mute.mp4") <= 20


def test_clips_without_a_caption_can_be_kept(folder_set: Path) -> None:
    config = data_config(folder_set)
    kept = config.model_copy(
        update={"clips": DataSetConfig(path=folder_set, missing_caption="empty")}
    )
    captions = {
        batch.keys[i]: batch.captions[i] for batch in steps(kept, range(12)) for i in range(2)
    }
    assert captions["mute.mp4"] == ""


@pytest.mark.parametrize("workers", [0, 3])
def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(folder_set: Path, workers: int) -> None:
    config = data_config(folder_set, picture_share=0.25, workers=workers)
    whole = steps(data_config(folder_set, picture_share=0.25), range(12))
    assert_same(steps(config, range(7)) + steps(config, range(7, 12)), whole)


def test_batches_may_be_asked_for_in_any_order(folder_set: Path) -> None:
    config = data_config(folder_set, workers=2)
    with ImageVideoLoader(config, batch_size=2, seed=5) as loader:
        late, early, later = (loader.step(step) for step in (700, 3, 701))
    assert_same([late, early, later], [steps(config, range(n, n + 1))[0] for n in (700, 3, 701)])


def test_ranks_see_different_clips(folder_set: Path) -> None:
    for name in ("cut", "empty", "mute", "noise"):
        (folder_set / f"{name}.mp4").unlink()
    first, second = (steps(data_config(folder_set), range(3), rank, 2) for rank in (0, 1))
    keys = [[key for batch in batches for key in batch.keys] for batches in (first, second)]
    assert keys[0] != keys[1]
    windows = [torch.cat([batch.frames for batch in batches]) for batches in (first, second)]
    assert not torch.equal(*windows)


def test_pictures_are_packed_and_labelled_zero(tmp_path: Path, mp4: bytes) -> None:
    clips = write_shard(tmp_path / "clips.tar", {"1.mp4": mp4, "1.txt": b"grey"})
    pictures = picture_shard(tmp_path / "pictures.tar", range(8))
    config = data_config(clips, pictures=pictures, picture_share=0.5)
    batches = steps(config, range(6))
    assert [batch.pictures for batch in batches] == [False, True] * 3
    for batch in batches[1::2]:
        assert batch.frames.shape == (4, 1, 3, 64, 64)
        assert batch.fps.tolist() == [0] * 4
    # Pixels and caption belong together: the level of red is the caption's number.
    for frames, caption in zip(batches[1].frames, batches[1].captions, strict=True):
        red = (frames[0, 0].mean().item() + 1) * 127.5
        assert red == pytest.approx(int(caption.removeprefix("picture ")), abs=4)


def test_as_many_pictures_as_frames_by_default(folder_set: Path) -> None:
    config = data_config(folder_set, picture_share=1.0).model_copy(update={"picture_batch": None})
    (batch,) = steps(config, range(1))
    assert batch.frames.shape == (2 * 4, 1, 3, 64, 64)


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0, 1), step=st.integers(1, 100_000))
def test_picture_steps_are_spread_evenly(share: float, step: int) -> None:
    around = range(max(0, step - 50), step + 50)
    taken = sum(is_picture_step(one, share) for one in around)
    assert abs(taken - share * len(around)) <= 1


def test_mixed_aspects_come_in_batches_of_one_size(
    tmp_path: Path, world_mp4: Callable[[int, int, int], bytes]
) -> None:
    members: dict[str, bytes] = {}
    for number, (width, height) in enumerate([(64, 64), (96, 48), (48, 96)] * 4):
        members[f"{number}.mp4"] = world_mp4(width, height, 0)
        members[f"{number}.txt"] = f"{width}x{height}".encode()
    shard = write_shard(tmp_path / "a.tar", members)
    batches = steps(data_config(shard, buckets=True, workers=2), range(24))
    found = Counter(tuple(batch.frames.shape[-2:]) for batch in batches)
    assert set(found) == {(64, 64), (48, 96), (96, 48)}
    for batch in batches:
        assert len(set(batch.captions)) == 1


def test_samples_that_would_be_enlarged_are_left_out(tmp_path: Path) -> None:
    members = {"0.jpg": jpeg(64, 64), "0.txt": b"small", "1.jpg": jpeg(128, 128), "1.txt": b"big"}
    shard = write_shard(tmp_path / "a.tar", members)
    config = data_config(shard, width=128, height=128, picture_share=1.0)
    batches = steps(config, range(8))
    assert {caption for batch in batches for caption in batch.captions} == {"big"}


def test_clips_that_are_too_short_or_cut_are_counted(tmp_path: Path, mp4: bytes) -> None:
    def level(*levels: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return np.repeat(np.array(levels, np.uint8), 12)[:, None, None, None] * np.ones(
            (64, 64, 3), np.uint8
        )

    write_mp4(tmp_path / "cut.mp4", level(10, 200, 20, 210, 30, 220))
    write_mp4(tmp_path / "short.mp4", level(100)[:3])
    (tmp_path / "good.mp4").write_bytes(mp4)
    for name in ("cut", "short", "good"):
        (tmp_path / f"{name}.txt").write_text(name)
    window = WindowConfig(frames=8, min_stride=2, max_stride=2, tries=1)
    config = data_config(tmp_path, window=window)
    with ImageVideoLoader(config, batch_size=4, seed=0) as loader:
        captions = {caption for step in range(6) for caption in loader.step(step).captions}
        assert captions == {"good"}
        assert set(loader.skipped) == {"skipped clips, too short", "skipped clips, hard cuts"}


def test_the_procedural_set_is_loaded_like_the_others() -> None:
    config = DataConfig(
        clips=DataSetConfig(kind="procedural", count=8),
        resolution=ResolutionConfig(width=64, height=64, buckets=False),
        window=WindowConfig(frames=8, max_stride=2),
        workers=0,
    )
    (batch,) = steps(config, range(1))
    assert batch.frames.shape == (2, 8, 3, 64, 64)
    assert all(batch.captions)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_set_of_broken_clips_is_an_error_that_says_so(tmp_path: Path, workers: int) -> None:
    for number in range(3):
        (tmp_path / f"{number}.mp4").write_bytes(b"broken")
        (tmp_path / f"{number}.txt").write_text("text")
    config = data_config(tmp_path, workers=workers)
    with (
        ImageVideoLoader(config, batch_size=2, seed=0) as loader,
        pytest.raises(DataError, match=r"in a row can be used; left out so far: .*broken video"),
    ):
        loader.step(0)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_set_without_captions_is_an_error_that_says_so(
    tmp_path: Path, mp4: bytes, workers: int
) -> None:
    (tmp_path / "0.mp4").write_bytes(mp4)
    with (
        ImageVideoLoader(data_config(tmp_path, workers=workers), batch_size=2, seed=0) as loader,
        pytest.raises(DataError, match=r"can be used; the last: no caption: 0\.mp4"),
    ):
        loader.step(0)


def test_a_batch_must_divide_by_the_processes(folder_set: Path) -> None:
    with pytest.raises(DataError, match="a batch of 3 does not divide by 2 processes"):
        ImageVideoLoader(data_config(folder_set), batch_size=3, seed=0, world=2)
