"""An index of a shard: its members and their offsets, read from its headers alone."""

from __future__ import annotations

import hashlib
import json
import logging
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from common.atomic_write import atomic_write
from training.data.errors import DataError
from training.data.sources.sample import media_kind

VERSION = 2
_END = bytes(512)  # a tar file ends with blocks of zeros
_EXTENSIONS = (b"x", b"X", b"g", b"L", b"K")
_MAX_EXTENSION_BYTES = 4096  # long names and PAX records; reading these takes time squared
_DAMAGED = (tarfile.TarError, ValueError, ArithmeticError, LookupError, RecursionError, MemoryError)
"""Errors that `tarfile` raises over headers that make no sense."""

_CUT = "was cut: {} samples before the cut are used"
_BAD = "is damaged: {} samples before the damage are used"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShardSample:
    """A key and its members: offset and size in bytes by extension (``mp4``, no dot)."""

    key: str
    members: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """Samples of a shard in order; ``note`` says what is wrong with it, and is empty mostly."""

    samples: tuple[ShardSample, ...]
    note: str = ""


def load_index(shard: Path, cache: Path | None) -> ShardIndex:
    """List a shard, from the cache where it holds the list of this very file.

    Raises:
        DataError: the shard cannot be read, or is no uncompressed tar file.
    """
    try:
        stat = shard.stat()
    except OSError as error:
        raise DataError(f"{shard} cannot be read: {error.strerror}") from error
    stamp = [VERSION, stat.st_size, stat.st_mtime_ns]
    name = hashlib.sha256(str(shard.resolve()).encode()).hexdigest()[:16]
    path = cache / f"{shard.stem}-{name}.json" if cache is not None else None
    if path is not None and (known := _read_cached(path, stamp)) is not None:
        return known
    index = _list(shard, stat.st_size)
    if path is not None:
        _write_cached(path, stamp, index)
    return index


class _SizeError(tarfile.ReadError):
    """A header states a size that cannot be.

    Attributes:
        name: of the member.
    """

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        super().__init__(f"{name!r} states a size of {size} bytes")


class _Header(tarfile.TarInfo):
    """A header whose size is one."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        """Parse a header; raises _SizeError as well."""
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _EXTENSIONS and header.size > _MAX_EXTENSION_BYTES):
            raise _SizeError(header.name, header.size)
        return header


class _StoppedError(Exception):
    """The headers end before the shard does.

    Attributes:
        note: what is said of the shard, with a place for the number of samples.
        key: of the member that it stopped at; None where that is unknown.
    """

    def __init__(self, note: str, key: str | None) -> None:
        super().__init__(note)
        self.note = note
        self.key = key


def _list(shard: Path, size: int) -> ShardIndex:
    samples: list[ShardSample] = []
    note = ""
    try:
        with shard.open("rb") as file:
            _read_headers(file, size, samples)
    except _StoppedError as stopped:
        # What belongs to the last sample may lie behind the place.
        if samples and stopped.key in (None, samples[-1].key) and not _whole(samples[-1]):
            samples.pop()
        note = f"{shard.name} {stopped.note.format(len(samples))}"
    except _DAMAGED as error:
        raise DataError(
            f"{shard} is no tar file that can be read ({error}); shards must not be compressed"
        ) from error
    except OSError as error:
        raise DataError(f"{shard} cannot be read: {error.strerror}") from error
    return ShardIndex(tuple(samples), note)


def _read_headers(file: BinaryIO, size: int, samples: list[ShardSample]) -> None:
    """List members until the end, or raise _StoppedError at the first that makes no sense."""
    try:
        with tarfile.open(fileobj=file, mode="r:", tarinfo=_Header) as archive:
            end = 0  # of the last member
            try:
                for member in archive:
                    _check_place(member, archive.offset, end, size)
                    end = archive.offset
                    # The bytes of a sparse file are not there as a whole.
                    if member.isfile() and not member.issparse():
                        _add(samples, member)
            except _SizeError:
                raise
            except tarfile.TarError as error:
                raise _StoppedError(_CUT, None) from error
            except _DAMAGED as error:
                raise _StoppedError(_BAD, None) from error
            file.seek(end)
            block = file.read(len(_END))
            if len(block) < len(_END):
                raise _StoppedError(_CUT, None)
            if block != _END:
                raise _StoppedError(_BAD, None)
    except _SizeError as error:
        raise _StoppedError(_BAD, _key(error.name)) from error


def _check_place(member: tarfile.TarInfo, following: int, end: int, size: int) -> None:
    """Each member stands behind the last, before the next header, and inside the shard."""
    stop = member.offset_data + member.size
    if member.size >= 0 and member.isfile() and not member.issparse() and stop > size:
        raise _StoppedError(_CUT, _key(member.name))
    overlaps = member.isfile() and not member.issparse() and stop > following
    if member.size < 0 or member.offset_data < end or following <= member.offset or overlaps:
        raise _StoppedError(_BAD, _key(member.name))


def _key(name: str) -> str | None:
    """The key of the sample that a member belongs to; None for what belongs to none."""
    folder, _, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    if not stem or not extension:  # a hidden file, or one without a kind
        return None
    return f"{folder}/{stem}" if folder else stem


def _add(samples: list[ShardSample], member: tarfile.TarInfo) -> None:
    key = _key(member.name)
    if key is None:
        return
    if not samples or samples[-1].key != key:
        samples.append(ShardSample(key, {}))
    extension = member.name.rpartition("/")[2].partition(".")[2]
    samples[-1].members[extension.lower()] = (member.offset_data, member.size)


def _whole(sample: ShardSample) -> bool:
    has_media = any(media_kind(f".{extension}") for extension in sample.members)
    return has_media and not {"txt", "json"}.isdisjoint(sample.members)


def _read_cached(path: Path, stamp: list[int]) -> ShardIndex | None:
    try:
        raw = json.loads(path.read_bytes())
        if raw["stamp"] != stamp:
            return None
        samples = tuple(
            ShardSample(str(key), {ext: (start, size) for ext, (start, size) in members.items()})
            for key, members in raw["samples"]
        )
        return ShardIndex(samples, str(raw["note"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        logger.warning("%s: a damaged list of shard members is made anew (%s)", path, error)
        return None


def _write_cached(path: Path, stamp: list[int], index: ShardIndex) -> None:
    raw = {
        "stamp": stamp,
        "note": index.note,
        "samples": [[sample.key, sample.members] for sample in index.samples],
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps(raw))
    except OSError as error:
        # A cache that cannot be kept costs time and nothing else.
        logger.warning("%s: the list of shard members is not kept (%s)", path, error.strerror)
