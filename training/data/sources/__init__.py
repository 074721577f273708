"""Data sets with random access: tables, folders, shards, and the procedural world."""

from training.data.sources.opening import open_source
from training.data.sources.sample import MediaKind, Sample, Slice, Source

__all__ = ["MediaKind", "Sample", "Slice", "Source", "open_source"]
