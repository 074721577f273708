"""The weight files of a model folder: find, check and fingerprint them."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from common.atomic_write import atomic_write
from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.folder.inspection import FileCache, Wanted, check_folder, identity
from engine.checkpoints.folder.json_reader import read_object
from engine.checkpoints.folder.layout import MODEL_INDEX, ModelFiles, components, find_files
from engine.checkpoints.folder.metadata import ModelMetadata, read_metadata
from engine.checkpoints.folder.reading import read_limited
from engine.checkpoints.folder.tensors import read_header

__all__ = [
    "MODEL_INDEX",
    "REVISION_LENGTH",
    "ModelFingerprint",
    "WeightInspector",
    "components",
    "count_parameters",
    "read_json_object",
    "weight_files",
]

REVISION_LENGTH = 12
_NOTE_BYTES = 1024


def read_json_object(path: Path) -> dict[str, object]:
    """A JSON object from a file.

    Raises:
        ModelLoadError: the file is missing or holds something else.
    """
    return read_object(path)


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files that the folder's networks are loaded from, sorted by path.

    Raises:
        ModelLoadError: the folder states no metadata, a component is missing, has no weights, or
            lacks a part of sharded ones.
    """
    return find_files(folder, read_metadata(folder).task).weights


def count_parameters(folder: Path) -> dict[str, int]:
    """Component name to the number of its weights; only the files' headers are read.

    Raises:
        ModelLoadError: as `weight_files`, or a file is damaged.
    """
    files = find_files(folder, read_metadata(folder).task)
    return {
        name: sum(
            tensor.count for file in part.weights for tensor in read_header(file).tensors.values()
        )
        for name, part in files.networks.items()
    }


@dataclass(frozen=True, slots=True)
class ModelFingerprint:
    """Fingerprint of the model in a folder.

    Attributes:
        files: that are loaded.
        revision: of everything that clips depend on: weights, configurations, tokenizer, noise
            schedule, and what the metadata say of sampling; hex digits.
        weights: of the weights alone; hex digits.
        default_steps: the usual number of steps, one that the sampler can run.
    """

    files: ModelFiles
    revision: str
    weights: str
    default_steps: int


class WeightInspector:
    """Checks and fingerprints model folders, and remembers the answer until a file changes.

    The first look at a model reads all of it once (for the fingerprint); later ones cost a few
    `stat` calls. The fingerprint of a large file is also noted beside it, or every start of the
    program would read gigabytes. Safe to use from several threads.

    Args:
        noted_from: bytes from which on a file is large.
    """

    def __init__(self, *, noted_from: int = 64 * 2**20) -> None:
        self._noted_from = noted_from
        self.cache = FileCache()

    def identify(self, folder: Path, metadata: ModelMetadata) -> ModelFingerprint:
        """Check a folder for everything that loading needs, and fingerprint it.

        Raises:
            ModelLoadError: something is missing, damaged or does not fit; the text names it.
        """
        wanted = Wanted(metadata.task, metadata.scheduler, metadata.default_steps)
        files, steps = check_folder(folder, wanted, self.cache)
        weights, overall = identity(files, metadata.technical, self._file_digest)
        return ModelFingerprint(
            files, overall.hex()[:REVISION_LENGTH], weights.hex()[:REVISION_LENGTH], steps
        )

    def revision(self, folder: Path) -> str:
        """Return the revision of a model: 12 hex digits, see `ModelFingerprint`.

        Raises:
            ModelLoadError: as `identify`, or the metadata are missing.
        """
        return self.identify(folder, read_metadata(folder)).revision

    def digest(self, file: Path) -> bytes:
        """SHA-256 of one safetensors file.

        Raises:
            ModelLoadError: it is missing or damaged.
        """
        self.cache.header(file)
        return self._file_digest(file)

    def digest_beside(self, file: Path) -> bytes:
        """SHA-256 of a file of settings that may be missing; nothing then.

        Raises:
            ModelLoadError: it is no regular file, or cannot be read.
        """
        return self._file_digest(file) if file.exists() else b""

    def _file_digest(self, file: Path) -> bytes:
        return self.cache.get("digest", file, self._find_digest)

    def _find_digest(self, file: Path) -> bytes:
        try:
            stat = file.stat()
            note = _Note.of(file, stat) if stat.st_size >= self._noted_from else None
            digest = note.read() if note is not None else None
            if digest is None:
                with file.open("rb") as stream:
                    digest = hashlib.file_digest(stream, "sha256").digest()
                if note is not None:
                    note.write(digest)
        except OSError as error:
            raise ModelLoadError(f"{file} cannot be read: {error.strerror or error}.") from error
        return digest


@dataclass(frozen=True, slots=True)
class _Note:
    """A small file beside a large one: its SHA-256, and the size and time that it holds for."""

    path: Path
    size: int
    modified_ns: int

    @classmethod
    def of(cls, file: Path, stat: os.stat_result) -> _Note:
        return cls(file.with_name(f".{file.name}.sha256"), stat.st_size, stat.st_mtime_ns)

    def read(self) -> bytes | None:
        try:
            digest, size, modified_ns = read_limited(self.path, _NOTE_BYTES).decode().split()
            found = bytes.fromhex(digest)
        except (ModelLoadError, ValueError):
            return None
        fresh = (size, modified_ns) == (str(self.size), str(self.modified_ns))
        return found if fresh and len(found) == hashlib.sha256().digest_size else None

    def write(self, digest: bytes) -> None:
        # A folder that only others may write to is no fault; the next start reads all again.
        with suppress(OSError):
            atomic_write(self.path, f"{digest.hex()} {self.size} {self.modified_ns}")
