"""Data sets with random access: tables, folders, shards, and the procedural world."""

from training.data.sources.opening import open_source
from training.data.sources.sample import DataSource, MediaKind, Sample, Slice

__all__ = ["DataSource", "MediaKind", "Sample", "Slice", "open_source"]
