"""Batches of a data set, made ahead by threads; each a pure function of its number.

Nothing has to be saved to go on after a stop: batch ``n`` of a process is the same whether the
batches before it were made or not, and for any number of workers. Threads do, since decoding and
resizing leave Python's lock alone, and need no copies between processes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

from training.data.buckets import Bucket
from training.data.errors import DataError, SampleError, about_sample
from training.data.order import DeterministicSampler
from training.data.planner import BatchBlock, BucketBatchSampler, PlannedBatch
from training.data.skips import SkipCounter

ItemT = TypeVar("ItemT")
BatchT = TypeVar("BatchT")
_ItemCo = TypeVar("_ItemCo", covariant=True)
_R = TypeVar("_R")


class Reader(Protocol[_ItemCo]):
    """A reader, which turns the number of a sample into an item of a batch."""

    def bucket(self, index: int) -> Bucket:
        """The bucket of a sample, found cheaply; raises SampleError."""
        ...

    def load(self, index: int, bucket: Bucket, rng: np.random.Generator) -> _ItemCo:
        """The item itself; raises SampleError."""
        ...


@dataclass(frozen=True, slots=True)
class _Loaded(Generic[ItemT]):
    item: ItemT | None
    errors: tuple[SampleError, ...]


class BatchLoader(Generic[ItemT, BatchT]):
    """Batches by number.

    Args:
        reader: of one sample.
        order: what this process draws when.
        collate: makes a batch of items of one bucket.
        batch_size: items in a batch of this process.
        workers: threads; 0 does everything when a batch is asked for.
        prefetch: batches made ahead.
    """

    def __init__(
        self,
        reader: Reader[ItemT],
        order: DeterministicSampler,
        collate: Callable[[Sequence[ItemT]], BatchT],
        *,
        batch_size: int,
        workers: int = 2,
        prefetch: int = 2,
    ) -> None:
        self._reader = reader
        self._order = order
        self._collate = collate
        self._batch_size = batch_size
        self._planner = BucketBatchSampler(order, self._bucket, batch_size)
        self._closing = threading.Event()
        self._prefetch = prefetch if workers else 0
        self._skips = SkipCounter()
        self._pool = ThreadPoolExecutor(workers, "data") if workers else None
        # A plan may wait for the pool, so it must not take up one of its threads.
        self._planning = ThreadPoolExecutor(1, "data-plan") if workers else None
        self._blocks: dict[int, Future[BatchBlock]] = {}
        self._pending: dict[int, list[Future[_Loaded[ItemT]]]] = {}
        self._counted_block = -1

    @property
    def skipped(self) -> dict[str, int]:
        """Draws of this process left out since it started, by reason."""
        return self._skips.counts()

    def batch(self, number: int) -> BatchT:
        """The batch with this number, from 0; fastest when asked for in order.

        Raises:
            DataError: there are too few samples that can be used.
        """
        for old in [n for n in self._pending if not number <= n <= number + self._prefetch]:
            for future in self._pending.pop(old):
                future.cancel()
        self._start(number, wait=True)
        for ahead in range(number + 1, number + 1 + self._prefetch):
            self._start(ahead, wait=False)
        if self._planning is not None:
            self._plan(number // self._planner.block_batches + 1)
        return self._collate([self._result(future) for future in self._pending.pop(number)])

    def close(self) -> None:
        """End the threads; what they are decoding is finished first."""
        self._closing.set()
        for executor in (self._planning, self._pool):
            if executor is not None:
                executor.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self, number: int, *, wait: bool) -> None:
        """Hand a batch to the workers, unless its plan is not ready and need not be."""
        if number in self._pending:
            return
        block, place = divmod(number, self._planner.block_batches)
        plan = self._plan(block)
        if not wait and not plan.done():
            return
        batch = plan.result().batches[place]
        if wait and block != self._counted_block:
            self._skips.add(plan.result().errors)
            self._counted_block = block
        self._pending[number] = [
            _submit(self._pool, self._load, batch, number, position)
            for position in range(self._batch_size)
        ]

    def _plan(self, block: int) -> Future[BatchBlock]:
        if block not in self._blocks:
            for old in [b for b in self._blocks if b not in (block - 1, block + 1)]:
                self._blocks.pop(old).cancel()
            # The first plan is waited for; later ones must not keep the workers from decoding.
            mapper = map if self._pool is None or self._blocks else self._pool.map
            self._blocks[block] = _submit(self._planning, self._planner.block, block, mapper)
        return self._blocks[block]

    def _bucket(self, index: int) -> Bucket:
        if self._closing.is_set():
            raise CancelledError("the loader is closed")
        with about_sample(f"sample {index}"):
            return self._reader.bucket(index)

    def _load(self, batch: PlannedBatch, number: int, position: int) -> _Loaded[ItemT]:
        first = batch.indices[position]
        at = batch.fallbacks.index(first)
        # From the draw itself on, once around all of the block that have its bucket.
        candidates = dict.fromkeys((*batch.fallbacks[at:], *batch.fallbacks[:at]))
        errors: list[SampleError] = []
        for index in candidates:
            rng = self._order.generator(number * self._batch_size + position)
            try:
                with about_sample(f"sample {index}"):
                    return _Loaded(self._reader.load(index, batch.bucket, rng), tuple(errors))
            except SampleError as error:
                errors.append(error)
        return _Loaded(None, tuple(errors))

    def _result(self, future: Future[_Loaded[ItemT]]) -> ItemT:
        loaded = future.result()
        self._skips.add(loaded.errors)
        if loaded.item is None:
            raise DataError(
                f"none of {len(loaded.errors)} samples in a row can be used; "
                f"left out so far: {self._skips}"
            )
        return loaded.item


def _submit(
    pool: ThreadPoolExecutor | None, task: Callable[..., _R], *arguments: object
) -> Future[_R]:
    """Run a task on the pool, or at once where there is none."""
    if pool is not None:
        return pool.submit(task, *arguments)
    done: Future[_R] = Future()
    done.set_result(task(*arguments))
    return done
