"""The plan of batches: each of one bucket, and a pure function of the batch's number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from training.data.buckets import Bucket
from training.data.errors import DataError, SampleError
from training.data.order import DeterministicSampler

MIN_BLOCK_BATCHES = 8
BLOCK_DRAWS = 512
MAX_REPLACEMENTS = 1000

Mapper = Callable[[Callable[[int], "SampledIndex"], Sequence[int]], Iterable["SampledIndex"]]


@dataclass(frozen=True, slots=True)
class SampledIndex:
    """A sample that fell to a draw, its bucket, and what could not be used before it."""

    index: int
    bucket: Bucket
    errors: tuple[SampleError, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """Samples of one bucket; ``fallbacks`` take the place of those that fail to decode."""

    bucket: Bucket
    indices: tuple[int, ...]
    fallbacks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BatchBlock:
    """A run of batches that were planned together, and what was left out on the way."""

    batches: tuple[PlannedBatch, ...]
    errors: tuple[SampleError, ...]


class BucketBatchSampler:
    """Sorts blocks of consecutive draws into batches.

    A block's draws are grouped by bucket. What is left over after the full batches fills the
    remaining ones: a group gets one with a probability in proportion to its size and repeats
    its members there, so every draw counts once in the mean, however rare its bucket is.

    Args:
        order: what is drawn when.
        bucket: the bucket of a sample; raises SampleError for one that cannot be used.
        batch_size: samples of a batch.
    """

    def __init__(
        self, order: DeterministicSampler, bucket: Callable[[int], Bucket], batch_size: int
    ) -> None:
        self.block_batches = max(MIN_BLOCK_BATCHES, BLOCK_DRAWS // batch_size)
        self._order = order
        self._bucket = bucket
        self._batch_size = batch_size

    def block(self, number: int, mapper: Mapper = map) -> BatchBlock:
        """Plan a block.

        Args:
            number: of the block; it holds ``block_batches`` batches.
            mapper: applies a function to many draws, in order, perhaps on threads.

        Raises:
            DataError: of many samples in a row none could be used.
        """
        count = self.block_batches * self._batch_size
        draws = list(mapper(self._draw, range(number * count, (number + 1) * count)))
        groups: dict[Bucket, list[int]] = {}
        for draw in draws:
            groups.setdefault(draw.bucket, []).append(draw.index)
        batches: list[PlannedBatch] = []
        left: list[tuple[Bucket, list[int]]] = []
        for bucket, members in sorted(groups.items()):
            full = len(members) // self._batch_size * self._batch_size
            batches += [
                PlannedBatch(bucket, tuple(members[i : i + self._batch_size]), tuple(members))
                for i in range(0, full, self._batch_size)
            ]
            if full < len(members):
                left.append((bucket, members[full:]))
        rng = self._order.block_generator(number)
        for bucket, members in _in_proportion(left, self.block_batches - len(batches), rng):
            repeated = tuple(members[i % len(members)] for i in range(self._batch_size))
            batches.append(PlannedBatch(bucket, repeated, tuple(groups[bucket])))
        shuffled = tuple(batches[i] for i in rng.permutation(len(batches)))
        return BatchBlock(shuffled, tuple(error for draw in draws for error in draw.errors))

    def _draw(self, number: int) -> SampledIndex:
        errors: list[SampleError] = []
        index = self._order.index(number)
        for attempt in range(1, MAX_REPLACEMENTS + 1):
            try:
                return SampledIndex(index, self._bucket(index), tuple(errors))
            except SampleError as error:
                errors.append(error)
            index = self._order.another(number, attempt)
        raise DataError(
            f"none of {MAX_REPLACEMENTS} samples drawn from the data set can be used; "
            f"the last: {errors[-1]}"
        )


def _in_proportion(
    groups: list[tuple[Bucket, list[int]]], count: int, rng: np.random.Generator
) -> list[tuple[Bucket, list[int]]]:
    """Choose ``count`` groups, each with a probability in proportion to its size.

    Systematic resampling: equally spaced points with one random offset on the groups laid end
    to end, which gives exact proportions with the least variance.
    """
    if count == 0:
        return []
    ends = np.cumsum([len(members) for _, members in groups])
    points = (np.arange(count) + rng.random()) * (ends[-1] / count)
    return [groups[int(i)] for i in np.searchsorted(ends, points, side="right")]
