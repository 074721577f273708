"""Recognise that memory is used up, an accelerator's or the machine's."""

from __future__ import annotations

import errno
import sys
from typing import Final

_ALLOCATOR_TEXTS: Final = (
    "can't allocate memory",  # torch's allocator on a CPU, which has no exception type of its own
    "cannot allocate memory",
    "not enough memory",  # the same allocator on Windows
    "out of memory",  # CUDA's error from outside torch's allocator; MPS
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if an exception means that a device or the machine ran out of memory."""
    # Not imported here, so that commands which need no torch start fast: its errors come from it.
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch and isinstance(error, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and mentions_out_of_memory(str(error))


def mentions_out_of_memory(text: str) -> bool:
    """Return True if a text is that of an allocator that has no memory left.

    For errors that a library wraps in a type of its own; else ask `is_out_of_memory`.
    """
    lower = text.lower()
    return any(words in lower for words in _ALLOCATOR_TEXTS)
