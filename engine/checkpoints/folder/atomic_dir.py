"""Model folders that appear whole or not at all."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from engine.checkpoints.disk import check_space
from engine.checkpoints.errors import DiskSpaceError, ModelLoadError, OutputExistsError


def refuse_used(target: Path) -> None:
    """Refuse to write where something is.

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
    """A hidden folder beside the target, which takes its place unless the block fails.

    Args:
        target: does not exist, or is an empty folder.
        needed: bytes that will be written; they must be free.
        fault: what is raised.

    Raises:
        ModelLoadError: there is too little space, or something cannot be written.
    """
    hidden = target.parent / f".{target.name}.{secrets.token_hex(4)}.partial"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        check_space({target.parent: needed})
        hidden.mkdir()
        yield hidden
        if target.is_dir():
            target.rmdir()  # an empty one; not everywhere can a folder be renamed onto another
        hidden.rename(target)
    except DiskSpaceError as error:
        raise fault(f"{target} cannot be written: {error}") from error
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise fault(f"{target} cannot be written: {reason}.") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
