"""A model and LoRAs become a model folder of their own."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.folder.atomic_dir import atomic_dir, refuse_used
from engine.checkpoints.folder.card import ModelCard
from engine.checkpoints.folder.layout import ModelFiles, NetworkFiles, find_files
from engine.checkpoints.folder.lora import LoraSource, lora_file, read_lora
from engine.checkpoints.folder.metadata import METADATA_FILE, AddedLora, MadeFrom, read_metadata
from engine.checkpoints.folder.tensors import read_header
from engine.checkpoints.folder.weights import WeightInspector
from engine.checkpoints.loading.load import load_unet
from engine.checkpoints.loading.lora_load import check_finite, fuse_loras

_NOTICES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt")
_NUMBERS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def merge_loras(card: ModelCard, loras: Sequence[LoraSource], output: Path) -> Path:
    """Write a model folder whose UNet has the LoRAs in its weights.

    The sums are formed in float32 and kept in the number format of the model. The folder appears
    complete or not at all, and its ``floor33.json`` names the model and the LoRAs.

    Args:
        card: the model, no variant itself.
        loras: what to add, at least one.
        output: a folder that does not exist or is empty; its name becomes the model's name.

    Returns:
        The folder.

    Raises:
        OutputExistsError: the output exists and is not an empty folder.
        ModelLoadError: the model is not ready, a LoRA does not fit, or the folder cannot be
            written.
    """
    target = Path(os.path.abspath(output))
    refuse_used(target)
    if not card.ready:
        raise ModelLoadError(f"The model {card.name} is not ready: {card.problem}")
    if card.loras or not loras:
        raise ModelLoadError("Merging takes a model without LoRAs, and at least one LoRA.")
    metadata, inspector = read_metadata(card.path), WeightInspector()
    made_from = MadeFrom(
        model=card.name,
        revision=card.revision,
        loras=tuple(_added(source, inspector) for source in loras),
    )
    licences, layers = [card.licence], set[str]()
    for source in loras:
        lora = read_lora(source.path)
        lora.check_base(card.name, card.revision, card.weights_revision)
        layers |= lora.layers.keys()
        if lora.metadata is not None:
            licences.append(lora.metadata.licence)
    files = find_files(card.path, card.task)
    unet = load_unet(card.path / "unet", torch.float32)
    fuse_loras(unet, loras, model=card.name)
    # That of diffusers warns about layers to be kept in float32, of which there are none.
    torch.nn.Module.to(unet, _number_format(files.networks["unet"]))
    check_finite(unet, sorted(layers), f"{card.name} with these LoRAs")
    titles = ", ".join(f"{lora.title} ({lora.weight:g})" for lora in made_from.loras)
    changed = {
        "name": target.name,
        "title": f"{metadata.title} + {titles}"[:80],
        "licence": " and ".join(dict.fromkeys(licences)),
        "origin": None,  # these are no longer the weights that were fetched
        "made_from": made_from,
    }
    merged = metadata.model_validate(metadata.model_dump() | changed)
    copied = _copied(files)
    size = sum(file.stat().st_size for file in (*copied, *files.networks["unet"].weights))
    with atomic_dir(target, size) as folder:
        for file in copied:
            place = folder / file.relative_to(card.path)
            place.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, place)
        unet.save_pretrained(folder / "unet")
        # The saved one would say where the base model lies on this machine.
        shutil.copy2(card.path / "unet" / "config.json", folder / "unet" / "config.json")
        text = merged.model_dump_json(indent=2, exclude_none=True)
        (folder / METADATA_FILE).write_text(text + "\n", encoding="utf-8")
    return target


def _added(source: LoraSource, inspector: WeightInspector) -> AddedLora:
    return AddedLora(
        title=read_lora(source.path).title,
        weight=source.weight,
        sha256=inspector.digest(lora_file(source.path)).hex(),
    )


def _number_format(unet: NetworkFiles) -> torch.dtype:
    """Return the number format of most of the weights that are loaded."""
    counts: Counter[str] = Counter()
    for file in unet.weights:
        for tensor in read_header(file).tensors.values():
            counts[tensor.dtype] += tensor.count
    return _NUMBERS.get(counts.most_common(1)[0][0], torch.float32)


def _copied(files: ModelFiles) -> list[Path]:
    """List what is loaded beside the UNet, and the licences; a README tells of the base model."""
    unet = files.networks["unet"].folder
    loaded = (*files.settings, *files.tokenizer, *files.weights)
    notices = [files.folder / name for name in _NOTICES]
    return [file for file in loaded if file.parent != unet] + [
        file for file in notices if file.is_file() and not file.is_symlink()
    ]
