"""The one account of a model folder: whether it can be loaded, and which model it is."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.folder import checks
from engine.checkpoints.folder.json_reader import read_object
from engine.checkpoints.folder.layout import (
    MODEL_INDEX,
    ModelFiles,
    NetworkFiles,
    Task,
    find_files,
)
from engine.checkpoints.folder.reading import Stamp, stamp_of
from engine.checkpoints.folder.tensors import Header, read_header

_T = TypeVar("_T")
_REMEMBERED = 4096


class FileCache:
    """Remembers what was found out about files until they change. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], tuple[Stamp, Any]] = {}

    def get(self, kind: str, file: Path, find: Callable[[Path], _T]) -> _T:
        """Return the result of `find`, which is called once for each state of the file.

        Raises:
            ModelLoadError: as `find`, or the file is missing or is being written.
        """
        stamp = stamp_of(file)
        with self._lock:
            known = self._known.get((kind, str(file)))
        if known is not None and known[0] == stamp:
            found: _T = known[1]
            return found
        found = find(file)
        if stamp_of(file) != stamp:
            raise ModelLoadError(f"{file} is being written just now.")
        with self._lock:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[kind, str(file)] = (stamp, found)
        return found

    def settings(self, file: Path) -> Mapping[str, Any]:
        """A JSON object that libraries read, too. Raises as `read_object`."""
        return self.get("settings", file, lambda path: read_object(path, byte_order_mark=False))

    def header(self, file: Path) -> Header:
        """The header of a weight file. Raises as `read_header`."""
        return self.get("header", file, read_header)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Task, sampler and default steps that a model's metadata ask of its folder."""

    task: Task
    sampler: str
    default_steps: int


def check_folder(folder: Path, wanted: Wanted, cache: FileCache) -> tuple[ModelFiles, int]:
    """Check everything that loading a model needs, as far as settings and headers tell.

    Returns:
        The files that are loaded, and no others; and the usual number of steps.

    Raises:
        ModelLoadError: something is missing, damaged or does not fit; one sentence.
    """
    files = find_files(folder, wanted.task)
    index = folder / MODEL_INDEX
    checks.check_pipeline(index, cache.get("index", index, read_object))
    for network in files.networks.values():
        check_network(network, cache)
    for file in files.tokenizer:
        cache.get("tokenizer", file, lambda path: checks.check_tokenizer((path,)))
    steps = checks.check_scheduler(
        files.scheduler.parent,
        cache.settings(files.scheduler),
        sampler=wanted.sampler,
        steps=wanted.default_steps,
    )
    return files, steps


def check_network(files: NetworkFiles, cache: FileCache) -> None:
    """Check the configuration and the headers of one network.

    Raises:
        ModelLoadError: as `check_folder`.
    """
    try:
        config = cache.settings(files.config)
    except ModelLoadError as error:
        raise ModelLoadError(f"{files.folder} cannot be loaded: {error}") from error
    headers = {file: cache.header(file) for file in files.weights}
    checks.check_floating(headers)
    checks.check_network(files, config, {file: held.tensors for file, held in headers.items()})


def identity(
    files: ModelFiles, metadata: bytes, digest_of: Callable[[Path], bytes]
) -> tuple[bytes, bytes]:
    """Fingerprint a model by everything that its clips depend on.

    Args:
        files: that are loaded.
        metadata: the technical part of what the folder states of itself.
        digest_of: SHA-256 of a file's contents.

    Returns:
        SHA-256 of the weights alone, and of all.
    """
    weights = hashlib.sha256()
    for file in files.weights:
        weights.update(file.relative_to(files.folder).as_posix().encode() + b"\0")
        weights.update(digest_of(file))
    overall = hashlib.sha256(weights.digest())
    for file in (*files.settings, *files.tokenizer):
        overall.update(file.relative_to(files.folder).as_posix().encode() + b"\0")
        overall.update(digest_of(file))
    overall.update(metadata)
    return weights.digest(), overall.digest()
