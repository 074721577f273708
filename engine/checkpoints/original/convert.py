"""An original checkpoint becomes a folder in diffusers layout.

No weight is copied in memory: the tensors are views of the mapped file, and shard by shard
safetensors writes them straight from there. Each shard has a mapping of its own, so what is
resident of the file are the pages of one shard, and the system may drop even those. Only files of
before torch 1.6, which cannot be mapped, are held whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from diffusers.configuration_utils import ConfigMixin
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from engine.checkpoints.errors import OriginalCheckpointError
from engine.checkpoints.folder.atomic_dir import atomic_dir, refuse_used
from engine.checkpoints.folder.metadata import METADATA_FILE, Origin
from engine.checkpoints.original.files import checkpoint_opener
from engine.checkpoints.original.load import assemble
from engine.checkpoints.original.metadata import folder_metadata
from engine.checkpoints.original.plan import make_plan
from engine.checkpoints.original.presets import Preset, find_preset, parse_config

OnProgress = Callable[[str, int, int], None]
"""Called with the component, the bytes that are written, and the bytes that will be in all."""

SHARD_BYTES: Final = 2**30
_SPARE_BYTES: Final = 2**24  # for the tokenizer and the configuration files


def convert_original(
    source: str | os.PathLike[str],
    config: str | Mapping[str, Any] | Preset,
    output: str | os.PathLike[str],
    *,
    on_progress: OnProgress | None = None,
    shard_bytes: int = SHARD_BYTES,
    origin: Origin | None = None,
) -> Path:
    """Write a model folder that the catalogue serves. The weights keep their number format.

    The folder appears complete or not at all.

    Args:
        source: as the path of `load_original`.
        config: as there, or a preset itself.
        output: a folder that does not exist or is empty.
        on_progress: is told after each shard.
        shard_bytes: a network of more than this many bytes is written in several files.
        origin: where the checkpoint was fetched from; the folder states it.

    Returns:
        The folder.

    Raises:
        OutputExistsError: the output exists and is not an empty folder.
        OriginalConfigError: as `load_original`.
        OriginalCheckpointError: as `load_original`, or the folder cannot be written.
    """
    target = Path(os.path.abspath(output))
    refuse_used(target)
    plan = make_plan(parse_config(config))
    checkpoint = checkpoint_opener(Path(source))

    def tensors_of(name: str) -> dict[str, Tensor]:
        tensors = checkpoint()
        plan.check(str(source), tensors)  # every time, for the file may have been exchanged
        return plan.components[name].tensors(tensors)

    parts = {
        name: {key: tensor.nbytes for key, tensor in tensors_of(name).items()}
        for name in plan.components
    }
    total = sum(size for part in parts.values() for size in part.values())
    pipeline = assemble(
        plan.config, {name: component.module for name, component in plan.components.items()}
    )
    metadata = folder_metadata(
        plan.config,
        preset=find_preset(config),
        folder=target.name,
        size_divisor=pipeline.size_divisor,
        origin=origin,
    )
    with atomic_dir(target, total + _SPARE_BYTES, fault=OriginalCheckpointError) as folder:
        done = 0
        for name, component in plan.components.items():
            shards = _shards(parts[name], shard_bytes)
            for written in _write_component(
                component.module, shards, partial(tensors_of, name), folder / name
            ):
                done += written
                if on_progress is not None:
                    on_progress(name, done, total)
        pipeline.scheduler.save_pretrained(folder / "scheduler")
        pipeline.tokenizer.save_pretrained(folder / "tokenizer")
        pipeline.save_config(folder)
        text = metadata.model_dump_json(indent=2, exclude_none=True)
        (folder / METADATA_FILE).write_text(text + "\n", encoding="utf-8")
    return target


def _write_component(
    module: nn.Module,
    shards: Sequence[Sequence[str]],
    read: Callable[[], Mapping[str, Tensor]],
    folder: Path,
) -> Iterator[int]:
    """Write one network, yielding the bytes of each shard.

    Args:
        module: tells the configuration.
        shards: names of the tensors of each file.
        read: gives all tensors of the network, from a fresh mapping of the checkpoint.
        folder: is made.
    """
    folder.mkdir()
    if isinstance(module, PreTrainedModel):
        stem = "model"
        module.config.architectures = [type(module).__name__]
        module.config.save_pretrained(folder)
    else:
        assert isinstance(module, ConfigMixin)
        stem = "diffusion_pytorch_model"
        module.save_config(folder)
    total = 0
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        part = f"-{number:05d}-of-{len(shards):05d}" if len(shards) > 1 else ""
        name = f"{stem}{part}.safetensors"
        size = _write_shard(shard, read(), folder / name)
        weight_map |= dict.fromkeys(shard, name)
        total += size
        yield size
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        path = folder / f"{stem}.safetensors.index.json"
        path.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _write_shard(names: Sequence[str], tensors: Mapping[str, Tensor], file: Path) -> int:
    """Write one file; returns the bytes that its tensors have in the checkpoint."""
    save_file({name: _storable(tensors[name]) for name in names}, file, metadata={"format": "pt"})
    return sum(tensors[name].nbytes for name in names)


def _shards(sizes: Mapping[str, int], most: int) -> list[list[str]]:
    """Names in groups of at most that many bytes (a larger tensor is alone)."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if shards[-1] and filled + size > most:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def _storable(tensor: Tensor) -> Tensor:
    """No copy unless the file holds the tensor in another order or in double precision."""
    if tensor.dtype == torch.float64:
        tensor = tensor.float()
    return tensor.contiguous()
