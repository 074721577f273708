"""The order of draws: a pure function of (seed, process, number), so there is no state to save."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt

SHARDS_MIXED = 8
# Every use of randomness has seeds of its own, large so that no step or epoch equals them.
_SHARDS, _WITHIN, _REPLACEMENT, _DRAW, _BLOCK = range(2**31, 2**31 + 5)


class DeterministicSampler:
    """An endless order over a data set: every epoch goes through all samples once, shuffled anew.

    Groups (shards) are shuffled, then the samples of a few neighbouring groups are mixed, so
    that reading stays local. A set of one group is shuffled as a whole. Process ``rank`` of
    ``world`` takes every ``world``-th draw, so the processes see different samples.

    Args:
        groups: samples in each group.
        seed: of the recipe.
        stream: number of the loader, so that two over one set draw differently.
        rank: of this process.
        world: how many processes there are.
        mixed: groups that are mixed at a time.
    """

    def __init__(
        self,
        groups: Sequence[int],
        *,
        seed: int,
        stream: int = 0,
        rank: int = 0,
        world: int = 1,
        mixed: int = SHARDS_MIXED,
    ) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank must lie in 0..{world - 1}, not {rank}")
        self.size = sum(groups)
        if self.size == 0:
            raise ValueError("the data set is empty")
        self._sizes = np.array(groups, dtype=np.int64)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._seed = [seed, stream]
        self._rank, self._world, self._mixed = rank, world, mixed
        self._lock = threading.Lock()
        self._epoch: tuple[int, npt.NDArray[np.int64], list[int]] | None = None
        self._window: tuple[tuple[int, int], npt.NDArray[np.int64]] | None = None

    def index(self, number: int) -> int:
        """The sample that this process draws as its ``number``-th, from 0."""
        epoch, position = divmod(number * self._world + self._rank, self.size)
        with self._lock:
            shards, ends = self._shards_of(epoch)
            window = bisect_right(ends, position)
            begin = ends[window - 1] if window else 0
            return int(self._members_of(epoch, window, shards)[position - begin])

    def another(self, number: int, attempt: int) -> int:
        """A replacement for a draw that cannot be used; attempts count from 1."""
        rng = np.random.default_rng([*self._seed, _REPLACEMENT, self._rank, number, attempt])
        return int(rng.integers(self.size))

    def generator(self, number: int) -> np.random.Generator:
        """Randomness that belongs to a draw (its window, its crop), other for every process."""
        return np.random.default_rng([*self._seed, _DRAW, number, self._rank])

    def block_generator(self, block: int) -> np.random.Generator:
        """Randomness for putting together the batches of a block of draws."""
        return np.random.default_rng([*self._seed, _BLOCK, block, self._rank])

    def _shards_of(self, epoch: int) -> tuple[npt.NDArray[np.int64], list[int]]:
        """The groups in this epoch's order, and where each window of them ends."""
        if self._epoch is None or self._epoch[0] != epoch:
            rng = np.random.default_rng([*self._seed, _SHARDS, epoch])
            order = rng.permutation(len(self._sizes))
            steps = range(0, len(order), self._mixed)
            sizes = [int(self._sizes[order[i : i + self._mixed]].sum()) for i in steps]
            self._epoch = (epoch, order, list(accumulate(sizes)))
        return self._epoch[1], self._epoch[2]

    def _members_of(
        self, epoch: int, window: int, order: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """The samples of a window of groups, mixed."""
        if self._window is None or self._window[0] != (epoch, window):
            groups = order[window * self._mixed : (window + 1) * self._mixed]
            members = np.concatenate(
                [np.arange(self._starts[g], self._starts[g] + self._sizes[g]) for g in groups]
            )
            np.random.default_rng([*self._seed, _WITHIN, epoch, window]).shuffle(members)
            self._window = ((epoch, window), members)
        return self._window[1]
