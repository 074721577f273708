"""Safe reading of checkpoint files: tensors only, mapped into memory and not copied.

A pickle can run any code when it is read, so only torch's restricted reader is used, which knows
tensors and plain containers. safetensors files hold nothing else to begin with.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from engine.checkpoints.errors import ModelLoadError, OriginalCheckpointError, listed
from engine.checkpoints.folder.reading import check_regular, foreign_kind, read_beginning
from engine.checkpoints.folder.tensors import read_header

_SAFETENSORS: Final = ".safetensors"
_NAMES_IN_A_FOLDER: Final = ("model.safetensors", "model.ckpt")
_DEEPSPEED_PREFIX_LENGTH: Final = 16  # of "_forward_module."
_EMA_PREFIX: Final = "model_ema."
_BEFORE_TORCH_1_6: Final = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # how its files begin
_PICKLE: Final = b"\x80"
_LENGTH: Final = 8  # bytes of a safetensors header's length, which comes before the header
_UNSAFE: Final = re.compile(
    r"unsupported (?:global|class|operand)\W*(?:GLOBAL )?([\w.]*)", re.IGNORECASE
)
_DAMAGE: Final = (
    pickle.UnpicklingError,
    SafetensorError,
    RuntimeError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
)


def checkpoint_file(path: Path) -> Path:
    """The file that a path means: itself, or in a folder ``model.safetensors``, ``model.ckpt``.

    Raises:
        OriginalCheckpointError: there is none.
    """
    if not path.is_dir():
        if not path.exists():
            raise OriginalCheckpointError(f"There is no file {path}.")
        try:
            check_regular(path)
        except ModelLoadError as error:
            raise OriginalCheckpointError(str(error)) from error
        return path
    for name in _NAMES_IN_A_FOLDER:
        if (path / name).is_file():
            return path / name
    raise OriginalCheckpointError(
        f"The folder {path} holds neither {' nor '.join(_NAMES_IN_A_FOLDER)}."
    )


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by their released names, without wrappers and EMA copies.

    They are views of the mapped file as far as its format allows (every safetensors file, and what
    torch has saved since 1.6).

    Args:
        path: a safetensors file or one of ``torch.save``, whatever its name ends in: tensors by
            name, alone or under ``state_dict``, or under DeepSpeed's ``module``, whose names are
            cut as the released code cuts them.

    Raises:
        OriginalCheckpointError: the file is missing, damaged, holds more than tensors, or no
            tensors.
    """
    path = checkpoint_file(path)
    content = _read(path)
    if not isinstance(content, Mapping):
        raise OriginalCheckpointError(f"{path} holds no tensors by name.")
    if isinstance(content.get("module"), Mapping):
        named: Mapping[Any, Any] = _without_deepspeed_prefix(path, content["module"])
    elif isinstance(content.get("state_dict"), Mapping):
        named = content["state_dict"]
    else:
        named = content
    foreign = [str(name) for name, value in named.items() if not _is_plain_tensor(name, value)]
    if foreign:
        raise OriginalCheckpointError(
            f"{path} holds {len(foreign)} entries that are no tensors: {listed(foreign)}."
        )
    if empty := [name for name, tensor in named.items() if tensor.is_meta]:
        raise OriginalCheckpointError(
            f"{path} holds {len(empty)} tensors without values (of torch's meta device): "
            f"{listed(empty)}."
        )
    return {
        name: tensor.detach() for name, tensor in named.items() if not name.startswith(_EMA_PREFIX)
    }


def checkpoint_opener(path: Path) -> Callable[[], dict[str, Tensor]]:
    """A function that maps the file anew at every call, as `read_checkpoint` does.

    Pages of a mapping that have been read stay resident until the last of its tensors is gone, so
    whoever goes through a large file in parts, each with a mapping of its own, holds one part at a
    time. A file that cannot be mapped is read here, once, and every call gives the same tensors.

    Raises:
        OriginalCheckpointError: as `read_checkpoint`; the function may raise it, too.
    """
    if _mappable(checkpoint_file(path)):
        return lambda: read_checkpoint(path)
    tensors = read_checkpoint(path)
    return lambda: tensors


def _mappable(path: Path) -> bool:
    if _is_safetensors(path):
        return True
    return path.suffix != _SAFETENSORS and zipfile.is_zipfile(path)


def _is_safetensors(path: Path) -> bool:
    """By what the file holds: names are changed by hand, and by sites that serve them."""
    beginning = read_beginning(path, _LENGTH + 1)
    return beginning[_LENGTH:] == b"{" and beginning[:2] != b"PK"


def _read(path: Path) -> Any:
    try:
        if foreign := foreign_kind(read_beginning(path)):
            raise _damaged(path, f": it is {foreign}")
        if _is_safetensors(path):
            read_header(path)
            return load_file(path)
        if not zipfile.is_zipfile(path):
            _check_beginning(path)
        if _mappable(path):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        with path.open("rb") as file:  # torch would go by the name
            return torch.load(file, map_location="cpu", weights_only=True)
    except OriginalCheckpointError:  # a ValueError too
        raise
    except ModelLoadError as error:
        raise OriginalCheckpointError(str(error)) from error
    except OSError as error:
        raise OriginalCheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    except _DAMAGE as error:
        # What torch says itself advises to switch its safety off.
        if unsafe := _UNSAFE.search(str(error)):
            raise _unsafe(path, f"asks for {unsafe[1]}") from error
        raise _damaged(path) from error


def _check_beginning(path: Path) -> None:
    """Refuse what is neither an archive nor of an old torch, before anything interprets it."""
    beginning = read_beginning(path, len(_BEFORE_TORCH_1_6))
    if not beginning:
        raise _damaged(path, ": it is empty")
    if beginning != _BEFORE_TORCH_1_6:
        raise _unsafe(path, "is a bare pickle") if beginning[:1] == _PICKLE else _damaged(path)


def _unsafe(path: Path, why: str) -> OriginalCheckpointError:
    return OriginalCheckpointError(
        f"{path} holds more than tensors (it {why}), and reading it could run foreign code: "
        "refused. Use a file of tensors only, best in the safetensors format."
    )


def _damaged(path: Path, why: str = "") -> OriginalCheckpointError:
    return OriginalCheckpointError(f"{path} is damaged or no checkpoint{why}.")


def _without_deepspeed_prefix(path: Path, module: Mapping[str, Any]) -> dict[str, Any]:
    prefixes = {str(name)[:_DEEPSPEED_PREFIX_LENGTH] for name in module}
    if len(prefixes) > 1:
        raise OriginalCheckpointError(
            f"The names under 'module' in {path} do not begin alike, as those of DeepSpeed do: "
            f"{listed(sorted(prefixes))}."
        )
    return {str(name)[_DEEPSPEED_PREFIX_LENGTH:]: value for name, value in module.items()}


def _is_plain_tensor(name: object, value: object) -> bool:
    dense = isinstance(value, Tensor) and value.layout is torch.strided and not value.is_quantized
    return isinstance(name, str) and dense
