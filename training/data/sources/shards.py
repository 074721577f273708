"""WebDataset shards: tar files in which ``key.mp4``, ``key.json``, ``key.txt`` are one sample."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from training.data.errors import DataError, SampleError
from training.data.sources.captions import caption_of, first_caption, parse_fields, size_of
from training.data.sources.sample import Sample, Slice, media_kind
from training.data.sources.shard_index import ShardIndex, ShardSample, load_index
from training.data.text import MAX_CAPTION_BYTES, check_text, printable, read_caption

OPEN_INDEXES = 64
LISTING_THREADS = 8


class ShardSource:
    """Samples of shards, found by their offset, so that any can be read at once.

    A shard that was cut is used up to the cut, and noted.

    Args:
        shards: uncompressed tar files, in order.
        cache: folder that keeps the lists of members from one run to the next.

    Raises:
        DataError: a shard cannot be read, or is no tar file.
    """

    def __init__(self, shards: Sequence[Path], cache: Path | None = None) -> None:
        self.kind = "shards"
        self._shards = tuple(shards)
        self._cache = cache
        self._lock = threading.Lock()
        self._recent: OrderedDict[int, ShardIndex] = OrderedDict()
        with ThreadPoolExecutor(LISTING_THREADS) as pool:
            facts = list(pool.map(self._facts, range(len(self._shards))))
        self.groups = tuple(count for count, _ in facts)
        self.notes = tuple(note for _, note in facts if note)
        self._ends: list[int] = []
        total = 0
        for count in self.groups:
            total += count
            self._ends.append(total)

    def sample(self, index: int) -> Sample:
        """The sample with this number; see :class:`training.data.sources.sample.DataSource`."""
        shard, place = self._find(index)
        try:
            entry = self._index(shard).samples[place]
            return _sample(self._shards[shard], entry)
        except (OSError, DataError, IndexError) as error:
            raise SampleError("missing file", f"{self._shards[shard]}: {error}") from error

    def _find(self, index: int) -> tuple[int, int]:
        shard = bisect_right(self._ends, index)
        return shard, index - (self._ends[shard] - self.groups[shard])

    def _facts(self, shard: int) -> tuple[int, str]:
        index = self._index(shard)
        return len(index.samples), index.note

    def _index(self, shard: int) -> ShardIndex:
        with self._lock:
            index = self._recent.get(shard)
            if index is not None:
                self._recent.move_to_end(shard)
                return index
        index = load_index(self._shards[shard], self._cache)
        with self._lock:
            self._recent[shard] = index
            while len(self._recent) > OPEN_INDEXES:
                self._recent.popitem(last=False)
        return index


def _sample(shard: Path, entry: ShardSample) -> Sample:
    parts = {ext: Slice(shard, offset, size) for ext, (offset, size) in entry.members.items()}
    extension = next((ext for ext in parts if media_kind(f".{ext}")), None)
    if extension is None:
        raise SampleError("no media", f"{shard.name}: {entry.key} has no video or picture")
    kind = media_kind(f".{extension}")
    assert kind is not None, "just found"
    caption = None
    if "txt" in parts:
        caption = read_caption(_small(parts["txt"]), f"{entry.key}.txt in {shard.name}")
    width = height = None
    if "json" in parts:
        fields = parse_fields(_small(parts["json"]))
        caption = first_caption(caption, caption_of(fields))
        caption = caption and check_text(caption, f"{entry.key}.json in {shard.name}")
        width, height = size_of(fields)
    key = f"{shard.name}/{entry.key}"
    return Sample(printable(key), kind, caption, parts[extension], width, height)


def _small(part: Slice) -> bytes:
    """A member that describes another; no more of it than a caption may have."""
    with part.open() as file:
        return file.read(MAX_CAPTION_BYTES + 1)
