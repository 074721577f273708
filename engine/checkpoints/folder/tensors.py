"""Headers of safetensors files: which tensors there are, of which shapes and number formats."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open

from common.text import printable
from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.folder.json_reader import BadJsonError, parse_object
from engine.checkpoints.folder.reading import check_regular, foreign_kind, read_beginning

HEADER_BYTES: Final = 32 * 2**20
"""Limit of a header; those of published models have some hundred kilobytes."""

FLOATING: Final = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
"""Number formats that weights may have, in the format's own words."""

_LENGTH: Final = 8
_BYTES: Final[Mapping[str, int]] = {
    "F64": 8,
    "I64": 8,
    "U64": 8,
    "C64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "U16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
}
_MOST_DIMENSIONS: Final = 16


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Number format (`F32`, `I8`, ...), shape and place in bytes after the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def count(self) -> int:
        """Numbers in the tensor."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """Tensors by name, the free text beside them, and where in the file the numbers begin."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    data_start: int

    def check_floating(self, file: Path, *, whole_numbers: tuple[str, ...] = ()) -> None:
        """Raise if a tensor has no floating-point numbers.

        Args:
            file: for the message.
            whole_numbers: endings of names that may be anything.

        Raises:
            ModelLoadError: names the first such tensor and its number format.
        """
        for name, tensor in self.tensors.items():
            if tensor.dtype not in FLOATING and not name.endswith(whole_numbers):
                raise ModelLoadError(
                    f"{file} holds {printable(name, 120)} as {printable(tensor.dtype, 20)}, which "
                    "is no floating-point number format; quantised weights are not supported."
                )


def read_header(file: Path) -> Header:
    """Read the header of a safetensors file and check that it describes exactly what follows.

    Raises:
        ModelLoadError: the file is missing, no regular one, damaged, or something else; the text
            says what it is where that can be told.
    """
    size = check_regular(file)
    beginning = read_beginning(file)
    if what := foreign_kind(beginning) or _other_weights(beginning):
        raise ModelLoadError(f"{file} is damaged or no safetensors file (it is {what}).")
    length = int.from_bytes(beginning[:_LENGTH], "little")
    if size < _LENGTH or length > min(HEADER_BYTES, size - _LENGTH):
        raise _damaged(file, "its header is not whole" if size else "it is empty")
    try:
        with file.open("rb") as stream:
            stream.seek(_LENGTH)
            text = stream.read(length).decode("utf-8")
        described = parse_object(text)
    except OSError as error:
        raise ModelLoadError(f"{file} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise _damaged(file, "its header is no text") from error
    except BadJsonError as error:
        raise _damaged(file, f"its header: {error}") from error
    metadata = described.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _damaged(file, "its metadata are no texts")
    tensors = {name: _tensor(file, name, value) for name, value in described.items()}
    _check_places(file, tensors, size - _LENGTH - length)
    if not tensors:
        raise ModelLoadError(f"{file} holds no tensors.")
    try:  # what reads the numbers later has the last word
        with safe_open(str(file), framework="np") as opened:
            opened.keys()
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(file, printable(str(error), 200)) from error
    return Header(tensors, metadata, _LENGTH + length)


def _tensor(file: Path, name: str, value: Any) -> TensorInfo:
    fields = value if isinstance(value, dict) else {}
    dtype = fields.get("dtype")
    shape, place = _sizes(fields.get("shape")), _sizes(fields.get("data_offsets"))
    if (
        not isinstance(dtype, str)
        or shape is None
        or place is None
        or len(shape) > _MOST_DIMENSIONS
        or len(place) != 2
        or place[0] > place[1]
    ):
        raise _damaged(file, f"its header does not describe {printable(name, 120)}")
    tensor = TensorInfo(dtype, shape, place[0], place[1])
    if dtype in _BYTES and tensor.count * _BYTES[dtype] != tensor.end - tensor.begin:
        raise _damaged(file, f"{printable(name, 120)} has another size than its header says")
    return tensor


def _sizes(value: Any) -> tuple[int, ...] | None:
    if not isinstance(value, list):
        return None
    fine = all(type(item) is int and 0 <= item < 2**63 for item in value)
    return tuple(value) if fine else None


def _check_places(file: Path, tensors: Mapping[str, TensorInfo], size: int) -> None:
    end = 0
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.begin, tensor.end)):
        if tensor.begin != end:
            raise _damaged(file, "its tensors overlap or leave gaps")
        end = tensor.end
    if end != size:
        raise _damaged(file, f"{size} bytes follow the header, not {end}")


def _other_weights(beginning: bytes) -> str | None:
    if beginning.startswith(b"PK\x03\x04"):
        return "an archive, as torch.save writes"
    if beginning[:1] == b"\x80" and beginning[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        # A header's length may begin so, too; then its text follows.
        return None if beginning[_LENGTH : _LENGTH + 1] == b"{" else "a pickle"
    return None


def _damaged(file: Path, why: str) -> ModelLoadError:
    return ModelLoadError(f"{file} is damaged or no safetensors file ({why}).")
