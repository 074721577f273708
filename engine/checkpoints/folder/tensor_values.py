"""Numbers of safetensors files, read without a model framework."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from common.text import printable
from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.folder.tensors import Header

_NUMPY: Final = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
_PIECE_BYTES: Final = 2**24


def largest_values(file: Path, header: Header) -> dict[str, float]:
    """Name of each tensor to the largest magnitude in it, 0 for an empty one.

    Args:
        file: a safetensors file whose tensors are floating-point numbers.
        header: of the file.

    Raises:
        ModelLoadError: a value is infinite or no number, or the file cannot be read.
    """
    found: dict[str, float] = {}
    try:
        with file.open("rb") as stream:
            for name, tensor in header.tensors.items():
                stream.seek(header.data_start + tensor.begin)
                left, largest = tensor.end - tensor.begin, 0.0
                while left:
                    piece = stream.read(min(left, _PIECE_BYTES))
                    if not piece:
                        raise ModelLoadError(f"{file} is being written just now.")
                    left -= len(piece)
                    # NaN would get lost in a maximum of Python's, not in one of numpy's.
                    most = float(np.abs(_decode(piece, tensor.dtype)).max())
                    if not np.isfinite(most):
                        raise ModelLoadError(
                            f"{file}: {printable(name, 120)} holds values that are no numbers."
                        )
                    largest = max(largest, most)
                found[name] = largest
    except OSError as error:
        raise ModelLoadError(f"{file} cannot be read: {error.strerror or error}.") from error
    return found


def _decode(piece: bytes, dtype: str) -> npt.NDArray[np.floating]:
    if dtype in _NUMPY:
        return np.frombuffer(piece, _NUMPY[dtype])
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(piece, "<u2").astype(np.uint32) << 16).view(np.float32)
    if dtype == "F8_E5M2":  # the upper half of a float16
        return (np.frombuffer(piece, np.uint8).astype(np.uint16) << 8).view(np.float16)
    if dtype == "F8_E4M3":
        return _E4M3[np.frombuffer(piece, np.uint8)]
    raise ValueError(f"dtype: {dtype} is no floating-point number format")


def _e4m3() -> npt.NDArray[np.float32]:
    """The 256 values of the format without infinities (arXiv 2209.05433)."""
    codes = np.arange(256)
    exponent, fraction = (codes >> 3) & 15, codes & 7
    magnitude = np.where(
        exponent == 0, fraction / 8 * 2.0**-6, (1 + fraction / 8) * 2.0 ** (exponent - 7.0)
    )
    magnitude[(codes & 127) == 127] = np.nan
    return np.where(codes < 128, magnitude, -magnitude).astype(np.float32)


_E4M3: Final = _e4m3()
