"""Checkpoints of a run: whole or absent, a few kept, refused by another recipe.

``<run>/checkpoints/step-000500/`` holds ``model.safetensors``, ``average.safetensors``
(the running mean of what is trained), ``optimizer.pt`` and ``state.json`` (step, recipe and
its digest). A folder is written under a hidden name and renamed, so one that can be seen is
complete.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from common.atomic_write import atomic_folder
from training.errors import TrainingError
from training.recipe.model import Recipe, RecipeError

CHECKPOINTS = "checkpoints"
_PARTIAL = ".partial"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after ``step`` steps, all tensors whole and on the CPU."""

    step: int
    model: Mapping[str, Tensor]
    average: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]


def checkpoint_folders(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted((folder / CHECKPOINTS).glob("step-*"), key=_step_of)


def save_checkpoint(folder: Path, recipe: Recipe, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint, then remove those that the recipe does not keep.

    Raises:
        TrainingError: it could not be written, on a full disk for example; the older ones are
            untouched and nothing half-written is left.
    """
    target = folder / CHECKPOINTS / f"step-{checkpoint.step:06d}"
    try:
        with atomic_folder(target, unique=False, sync=True) as partial:
            partial.mkdir(parents=True)
            _write(partial, recipe, checkpoint)
    # torch and safetensors report a full disk by errors of their own.
    except (OSError, RuntimeError, SafetensorError) as error:
        raise TrainingError(
            f"{target}: the checkpoint could not be written ({_one_line(error)}); "
            f"{_what_is_left(folder)}"
        ) from error
    _retire(folder, recipe)
    return target


def load_checkpoint(folder: Path, recipe: Recipe) -> Checkpoint | None:
    """Read the newest checkpoint of a run; None where there is none.

    Raises:
        RecipeError: it was written by a different recipe, or the folder holds something else.
        TrainingError: it is damaged.
    """
    newest = check_resumable(folder, recipe)
    if newest is None:
        return None
    optimizer = newest / "optimizer.pt"
    try:
        if not is_zipfile(optimizer):  # torch.load would take it for something else
            raise OSError(f"{optimizer.name} is not whole")
        return Checkpoint(
            step=_step_of(newest),
            model=load_file(newest / "model.safetensors"),
            average=load_file(newest / "average.safetensors"),
            optimizer=torch.load(optimizer, map_location="cpu", weights_only=True),
        )
    except (OSError, RuntimeError, UnpicklingError, SafetensorError) as error:
        raise _damaged(newest, error) from error


def check_resumable(folder: Path, recipe: Recipe) -> Path | None:
    """The checkpoint that a run would go on from, looked at but not read; None to begin anew.

    Keys of ``[bookkeeping]`` may change between runs: they move no weights.

    Raises:
        RecipeError: the folder was written by a different recipe, naming what differs, or holds a
            model without any checkpoint, which a new run would overwrite.
        TrainingError: the checkpoint's description is damaged.
    """
    found = checkpoint_folders(folder)
    if not found:
        if (folder / "model").exists():
            raise RecipeError(
                f"{folder} holds a model but no checkpoint to go on from; "
                "choose another --output or move it away"
            )
        return None
    newest = found[-1]
    try:
        written = json.loads((newest / "state.json").read_text(encoding="utf-8"))["recipe"]
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(newest, error) from error
    differences = _differences(written, recipe)
    if differences:
        raise RecipeError(
            f"{newest} was written by another version of recipe {recipe.name!r} "
            f"({'; '.join(differences)}); choose another --output or restore the recipe"
        )
    return newest


def remove_partial(folder: Path) -> None:
    """Remove what an earlier run was writing when it was killed."""
    for partial in (folder / CHECKPOINTS).glob(f".*{_PARTIAL}"):
        shutil.rmtree(partial, ignore_errors=True)


def recipe_digest(recipe: Recipe) -> str:
    """Digest of what moves the weights; keys at their defaults do not count."""
    text = json.dumps(_what_counts(recipe), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write(folder: Path, recipe: Recipe, checkpoint: Checkpoint) -> None:
    save_file(_plain(checkpoint.model), folder / "model.safetensors")
    save_file(_plain(checkpoint.average), folder / "average.safetensors")
    with (folder / "optimizer.pt").open("wb") as file:
        torch.save(checkpoint.optimizer, file)
    state = {
        "step": checkpoint.step,
        "recipe": recipe.model_dump(mode="json"),
        "digest": recipe_digest(recipe),
        "torch": torch.__version__,
    }
    (folder / "state.json").write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # safetensors wants dense tensors that share no memory, as tied weights do.
    seen: set[int] = set()
    plain = {}
    for name, tensor in tensors.items():
        dense = tensor.contiguous()
        plain[name] = dense.clone() if dense.data_ptr() in seen else dense
        seen.add(dense.data_ptr())
    return plain


def _retire(folder: Path, recipe: Recipe) -> None:
    books = recipe.bookkeeping
    for old in checkpoint_folders(folder)[: -books.keep]:
        if books.keep_every is None or _step_of(old) % books.keep_every:
            # Renamed first: a name that can be seen is complete, also while it goes away.
            going = old.with_name(f".{old.name}{_PARTIAL}")
            old.rename(going)
            shutil.rmtree(going, ignore_errors=True)


def _what_is_left(folder: Path) -> str:
    found = checkpoint_folders(folder)
    if not found:
        return "there is no earlier one; free space and start again"
    return f"{found[-1].name} is untouched; free space and run again to go on from it"


def _damaged(path: Path, error: Exception) -> TrainingError:
    return TrainingError(
        f"{path} is damaged ({_one_line(error)}); remove it to go on from the one before"
    )


def _one_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _differences(written: object, recipe: Recipe) -> list[str]:
    try:
        before = _flat(_what_counts(Recipe.model_validate(written)))
    except ValidationError:
        return ["it has keys that are not known"]
    now = _flat(_what_counts(recipe))
    return [
        f"{key} {before.get(key, 'at its default')} there, {now.get(key, 'at its default')} here"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]


def _what_counts(recipe: Recipe) -> dict[str, Any]:
    idle = {"bookkeeping", "publication"}
    return recipe.model_dump(mode="json", exclude=idle, exclude_defaults=True)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))
