"""Model folders that appear whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from common.atomic_write import atomic_folder
from engine.checkpoints.disk import check_space
from engine.checkpoints.errors import DiskSpaceError, ModelLoadError, OutputExistsError


def refuse_used(target: Path) -> None:
    """Raise if there is something at the target.

    Raises:
        OutputExistsError: the target exists and is not an empty folder.
    """
    if target.is_dir():
        if any(target.iterdir()):
            raise OutputExistsError(f"The folder {target} exists and is not empty.")
    elif target.exists() or target.is_symlink():
        raise OutputExistsError(f"{target} exists and is no folder.")


@contextmanager
def atomic_dir(
    target: Path, needed: int, *, fault: type[ModelLoadError] = ModelLoadError
) -> Iterator[Path]:
    """Yield a hidden folder beside the target, which takes its place unless the block fails.

    Args:
        target: does not exist, or is an empty folder.
        needed: bytes that will be written; they must be free.
        fault: the error to raise.

    Raises:
        ModelLoadError: there is too little space, or something cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        check_space({target.parent: needed})
        with atomic_folder(target) as hidden:
            hidden.mkdir()
            yield hidden
            if target.is_dir():
                target.rmdir()  # raises if somebody has filled it meanwhile
    except DiskSpaceError as error:
        raise fault(f"{target} cannot be written: {error}") from error
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise fault(f"{target} cannot be written: {reason}.") from error
