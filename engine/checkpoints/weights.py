"""The weight files of a model folder: which there are, whether they are whole, which they are."""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from engine.checkpoints.errors import ModelLoadError

MODEL_INDEX = "model_index.json"
REVISION_LENGTH = 12
_WITHOUT_WEIGHTS = frozenset({"scheduler", "tokenizer", "feature_extractor"})

_Stamp = tuple[str, int, int]  # path, modification time in ns, size


def components(folder: Path) -> dict[str, str]:
    """Component name to class name, as the folder's ``model_index.json`` lists them.

    Raises:
        ModelLoadError: there is no such file, or it is not the JSON object it should be.
    """
    path = folder / MODEL_INDEX
    index = read_json_object(path)
    parts = {
        name: value[1]
        for name, value in index.items()
        if isinstance(value, list) and len(value) == 2 and isinstance(value[1], str)
    }
    if not parts:
        raise ModelLoadError(f"{path} lists no components.")
    return parts


def read_json_object(path: Path) -> dict[str, object]:
    """A JSON object from a file.

    Raises:
        ModelLoadError: the file is missing or holds something else.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelLoadError(f"{path} is missing.") from None
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(value, dict):
        raise ModelLoadError(f"{path} does not hold a JSON object.")
    return value


def weight_files(folder: Path) -> tuple[Path, ...]:
    """All safetensors files of the folder's components, sorted by path.

    Raises:
        ModelLoadError: a component has no folder, no safetensors file, or lacks a part of a sharded
            one.
    """
    found: list[Path] = []
    for name in components(folder):
        component = folder / name
        if not component.is_dir():
            raise ModelLoadError(f"The folder {component} is missing.")
        if name not in _WITHOUT_WEIGHTS:
            found.extend(_component_weights(component))
    return tuple(sorted(found))


def _component_weights(component: Path) -> list[Path]:
    files = sorted(component.glob("*.safetensors"))
    if not files:
        raise ModelLoadError(f"{component} holds no .safetensors weights.")
    for index in component.glob("*.safetensors.index.json"):
        shards = read_json_object(index).get("weight_map")
        wanted = set(shards.values()) if isinstance(shards, dict) else set()
        missing = sorted(wanted - {file.name for file in files})
        if missing:
            raise ModelLoadError(f"{component} lacks the weight file {missing[0]}.")
    return files


def count_parameters(folder: Path) -> dict[str, int]:
    """Component name to the number of its weights; only the files' headers are read.

    Raises:
        ModelLoadError: as `weight_files`, or a file is damaged.
    """
    counts: dict[str, int] = {}
    for file in weight_files(folder):
        component = file.relative_to(folder).parts[0]
        try:
            with safe_open(str(file), framework="np") as tensors:
                names = tensors.keys()
                count = sum(math.prod(tensors.get_slice(name).get_shape()) for name in names)
        except (SafetensorError, OSError) as error:
            raise ModelLoadError(f"{file} cannot be read ({error}).") from error
        counts[component] = counts.get(component, 0) + count
    return counts


class WeightInspector:
    """Checks and fingerprints weight files, and remembers the answer until a file changes.

    The first look at a model reads all of it once (for the fingerprint); later ones cost a few
    ``stat`` calls. The fingerprint of a large file is also noted beside it, or every start of the
    program would read gigabytes. Safe to use from several threads.

    Args:
        noted_from: bytes from which on a file is large.
    """

    def __init__(self, *, noted_from: int = 64 * 2**20) -> None:
        self._noted_from = noted_from
        self._lock = threading.Lock()
        self._digests: dict[_Stamp, bytes] = {}

    def revision(self, folder: Path) -> str:
        """Which weights these are: 12 hex digits of a SHA-256 over all weight files.

        Raises:
            ModelLoadError: weights are missing or damaged; the text names the file.
        """
        files = weight_files(folder)
        overall = hashlib.sha256()
        for file in files:
            overall.update(file.relative_to(folder).as_posix().encode() + b"\0")
            overall.update(self.digest(file))
        return overall.hexdigest()[:REVISION_LENGTH]

    def digest(self, file: Path) -> bytes:
        """SHA-256 of one safetensors file.

        Raises:
            ModelLoadError: it is missing or damaged.
        """
        try:
            stat = file.stat()
            stamp = (str(file), stat.st_mtime_ns, stat.st_size)
            with self._lock:
                known = self._digests.get(stamp)
            if known is not None:
                return known
            _check_header(file)
            note = _Note.of(file, stat) if stat.st_size >= self._noted_from else None
            digest = note.read() if note is not None else None
            if digest is None:
                with file.open("rb") as stream:
                    digest = hashlib.file_digest(stream, "sha256").digest()
                if note is not None:
                    note.write(digest)
        except OSError as error:
            raise ModelLoadError(f"{file} cannot be read: {error.strerror or error}.") from error
        with self._lock:
            self._digests[stamp] = digest
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
            digest, size, modified_ns = self.path.read_text(encoding="ascii").split()
            found = bytes.fromhex(digest)
        except (OSError, ValueError):
            return None
        fresh = (size, modified_ns) == (str(self.size), str(self.modified_ns))
        return found if fresh and len(found) == hashlib.sha256().digest_size else None

    def write(self, digest: bytes) -> None:
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            partial.write_text(f"{digest.hex()} {self.size} {self.modified_ns}", encoding="ascii")
            partial.replace(self.path)
        except OSError:  # a folder that only others may write to; the next start reads all again
            partial.unlink(missing_ok=True)


def _check_header(file: Path) -> None:
    """Refuse a truncated or foreign file: the header must describe exactly the bytes there are."""
    try:
        with safe_open(str(file), framework="np") as tensors:
            empty = not tensors.keys()
    except SafetensorError as error:
        raise ModelLoadError(f"{file} is damaged or no safetensors file ({error}).") from error
    if empty:
        raise ModelLoadError(f"{file} holds no tensors.")
