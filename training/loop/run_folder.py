"""The folder of a run: one writer at a time, and a model that is whole or absent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from common.atomic_write import atomic_folder
from training.errors import TrainingError

MODEL = "model"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for one run; it is made if missing. A killed run holds it no longer.

    Raises:
        TrainingError: another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise TrainingError(
            f"another run is writing into {folder}; wait for its end or choose another --output"
        ) from None
    try:
        yield
    finally:
        lock.release()


def replace_model(folder: Path, write: Callable[[Path], None]) -> None:
    """Put a new ``model/`` in place, written by ``write``; the old one stays until it is whole.

    Raises:
        TrainingError: it could not be written, on a full disk for example.
    """
    target = folder / MODEL
    try:
        with atomic_folder(target, unique=False) as partial:
            write(partial)
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{target} could not be written ({error}); the one before is untouched"
        ) from error
