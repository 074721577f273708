"""Files of a model folder that are loaded; everything else in it counts for nothing."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from common.text import printable
from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.folder.json_reader import INDEX_BYTES, read_object
from engine.checkpoints.folder.reading import check_inside, check_regular

MODEL_INDEX: Final = "model_index.json"
CONFIG: Final = "config.json"
SCHEDULER_CONFIG: Final = "scheduler_config.json"

Library = Literal["diffusers", "transformers"]
Task = Literal["text-to-video", "image-to-video"]

TEXT_NETWORKS: Final[Mapping[str, Library]] = MappingProxyType(
    {"vae": "diffusers", "text_encoder": "transformers", "unet": "diffusers"}
)
"""The networks of every model, and whose way of naming files they are saved in."""

IMAGE_NETWORKS: Final[Mapping[str, Library]] = MappingProxyType(
    {"image_encoder": "transformers", "image_projection": "diffusers"}
)
"""Those that image-to-video has beside them."""

TOKENIZER_FILES: Final = (
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
)
"""All that a tokenizer is made of, as far as they are there."""

_STEMS: Final[Mapping[Library, str]] = {
    "diffusers": "diffusion_pytorch_model",
    "transformers": "model",
}
_COMPONENT: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SUFFIX: Final = ".safetensors"


@dataclass(frozen=True, slots=True)
class NetworkFiles:
    """Files that one network is loaded from.

    Attributes:
        folder: of the network.
        library: that loads it.
        config: its `config.json`.
        weights: one file, or the parts that the index names, sorted.
        index: which tensor lies in which part; None for one file.
    """

    folder: Path
    library: Library
    config: Path
    weights: tuple[Path, ...]
    index: Path | None = None


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """All files that a model is loaded from, beside the one with its metadata."""

    folder: Path
    networks: Mapping[str, NetworkFiles]
    tokenizer: tuple[Path, ...]
    scheduler: Path

    @property
    def settings(self) -> tuple[Path, ...]:
        """Every file but weights and vocabulary."""
        files = [self.folder / MODEL_INDEX, self.scheduler]
        for network in self.networks.values():
            files.append(network.config)
            if network.index is not None:
                files.append(network.index)
        return tuple(files)

    @property
    def weights(self) -> tuple[Path, ...]:
        """Every file of weights, sorted by path."""
        return tuple(sorted(file for network in self.networks.values() for file in network.weights))


def components(folder: Path) -> dict[str, str]:
    """Component name to class name, as the folder's `model_index.json` lists them.

    Raises:
        ModelLoadError: there is no such file, it is not the JSON object it should be, or a name
            could lead somewhere else than to a folder beside it.
    """
    path = folder / MODEL_INDEX
    check_inside(path, folder)
    parts: dict[str, str] = {}
    for name, value in read_object(path).items():
        if not (isinstance(value, list) and len(value) == 2 and isinstance(value[1], str)):
            continue
        if not _COMPONENT.fullmatch(name):
            raise ModelLoadError(
                f"{path} lists a component named {printable(name, 80)!r}: only small letters, "
                "digits and underscores are allowed."
            )
        parts[name] = value[1]
    if not parts:
        raise ModelLoadError(f"{path} lists no components.")
    return parts


def networks_of(task: Task) -> dict[str, Library]:
    """The networks that a model of the task is made of."""
    return dict(TEXT_NETWORKS) | (dict(IMAGE_NETWORKS) if task == "image-to-video" else {})


def find_files(folder: Path, task: Task) -> ModelFiles:
    """Find what a model of the task is loaded from.

    Raises:
        ModelLoadError: a component or a file is missing, is no regular file, or lies outside of
            the folder.
    """
    listed = components(folder)
    wanted = networks_of(task)
    for name in (*wanted, "tokenizer", "scheduler"):
        if name not in listed:
            raise ModelLoadError(f"{folder} lacks the component {name!r}.")
    networks = {
        name: find_network(folder / name, library, top=folder) for name, library in wanted.items()
    }
    return ModelFiles(folder, networks, _tokenizer(folder), _scheduler(folder))


def find_network(folder: Path, library: Library, *, top: Path | None = None) -> NetworkFiles:
    """Find what a network is loaded from, by the rules of the library that loads it.

    diffusers takes an index of parts before a whole file, transformers the other way round.

    Args:
        folder: of the network.
        library: that loads it.
        top: the model folder, which no link may leave; None: the network's own.

    Raises:
        ModelLoadError: as `find_files`.
    """
    top = folder if top is None else top
    names = list_folder(folder, top)
    stem = _STEMS[library]
    whole, index = folder / (stem + _SUFFIX), folder / f"{stem}{_SUFFIX}.index.json"
    order = (index, whole) if library == "diffusers" else (whole, index)
    chosen = next((file for file in order if file.name in names), None)
    if chosen is None:
        raise ModelLoadError(_no_weights(folder, names, whole.name))
    config = folder / CONFIG
    try:
        _check_file(config, top)
    except ModelLoadError as error:
        raise ModelLoadError(f"{folder} cannot be loaded: {error}") from error
    _check_file(chosen, top)
    if chosen == whole:
        return NetworkFiles(folder, library, config, (whole,))
    shards = tuple(folder / name for name in sorted(set(read_index(index).values())))
    for shard in shards:
        if shard.name not in names:
            raise ModelLoadError(f"{folder} lacks the weight file {shard.name}.")
        _check_file(shard, top)
    if not isinstance(read_object(index, limit=INDEX_BYTES).get("metadata"), dict):
        # Both libraries look into it.
        raise ModelLoadError(f"{index} is damaged: it has no metadata.")
    return NetworkFiles(folder, library, config, shards, index)


def read_index(path: Path) -> dict[str, str]:
    """Read which tensor lies in which file beside an index.

    Raises:
        ModelLoadError: the index is damaged, or names something else than files beside it.
    """
    content = read_object(path, limit=INDEX_BYTES, byte_order_mark=False)
    listed: Any = content.get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise ModelLoadError(f"{path} is damaged: it has no weight_map.")
    for name in listed.values():
        if not isinstance(name, str) or not is_file_name(name) or not name.endswith(_SUFFIX):
            raise ModelLoadError(f"{path} is damaged: its weight_map names no {_SUFFIX} files.")
    return listed


def is_file_name(name: str) -> bool:
    """Return True if a name means a file of the folder it is looked for in."""
    return (
        name.isprintable()
        and len(name) <= 255
        and not name.startswith(".")
        and not set(name) & set("/\\:\0")
    )


def list_folder(folder: Path, top: Path) -> set[str]:
    """Names in a folder of a model; hidden ones, which are nobody's weights, left out.

    Raises:
        ModelLoadError: the folder is missing or outside of the model folder, or holds something
            that is neither a file nor a folder, which would block the code that opens it.
    """
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        raise ModelLoadError(f"The folder {folder} is missing.") from None
    except OSError as error:
        raise ModelLoadError(f"{folder} cannot be read: {error.strerror or error}.") from error
    check_inside(folder, top)
    names: set[str] = set()
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            mode = os.stat(entry.path).st_mode
        except OSError:  # a link to nothing: missing, should it be needed
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ModelLoadError(f"{entry.path} cannot be read: it is no regular file.")
        names.add(entry.name)
    return names


def _no_weights(folder: Path, names: set[str], wanted: str) -> str:
    found = sorted(name for name in names if name.endswith(_SUFFIX))
    text = f"{folder} holds no .safetensors weights"
    if not found:
        return text + "."
    if halves := [name for name in found if ".fp16." in name]:
        return (
            f"{text} of the usual name: only the half-precision variant {halves[0]}, which is not "
            f"loaded as such. Rename it to {halves[0].replace('.fp16', '')}, the index too, if "
            "there is one."
        )
    return f"{text} named {wanted}, but {found[0]}: rename it, if these are the weights."


def _tokenizer(top: Path) -> tuple[Path, ...]:
    folder = top / "tokenizer"
    names = list_folder(folder, top)
    if not names & {"tokenizer.json", "vocab.json"}:
        raise ModelLoadError(f"{folder} holds neither tokenizer.json nor vocab.json.")
    if "tokenizer.json" not in names and "merges.txt" not in names:
        raise ModelLoadError(f"{folder} holds vocab.json without merges.txt.")
    files = tuple(folder / name for name in TOKENIZER_FILES if name in names)
    for file in files:
        _check_file(file, top)
    return files


def _scheduler(top: Path) -> Path:
    folder = top / "scheduler"
    list_folder(folder, top)
    _check_file(folder / SCHEDULER_CONFIG, top)
    return folder / SCHEDULER_CONFIG


def _check_file(path: Path, top: Path) -> None:
    check_regular(path)
    check_inside(path, top)
