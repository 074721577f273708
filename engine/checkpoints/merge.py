"""A model and LoRAs become a model folder of their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import safe_open

from engine.checkpoints.catalog import ModelCard
from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.facts import FACTS_FILE, AddedLora, MadeFrom, read_facts
from engine.checkpoints.fuse import fuse_loras
from engine.checkpoints.load import load_unet
from engine.checkpoints.lora import LoraSource, lora_file, read_lora
from engine.checkpoints.new_folder import new_folder, refuse_used
from engine.checkpoints.weights import WeightInspector

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
        OutputFolderError: the output exists and is not an empty folder.
        ModelLoadError: the model is not ready, a LoRA does not fit, or the folder cannot be
            written.
    """
    target = Path(os.path.abspath(output))
    refuse_used(target)
    if not card.ready:
        raise ModelLoadError(f"The model {card.name} is not ready: {card.problem}")
    if card.loras or not loras:
        raise ModelLoadError("Merging takes a model without LoRAs, and at least one LoRA.")
    facts, inspector = read_facts(card.path), WeightInspector()
    made_from = MadeFrom(
        model=card.name,
        revision=card.revision,
        loras=tuple(_added(source, inspector) for source in loras),
    )
    licences = [card.licence]
    for source in loras:
        lora = read_lora(source.path)
        lora.check_base(card.name, card.revision)
        if lora.facts is not None:
            licences.append(lora.facts.licence)
    unet = load_unet(card.path / "unet", torch.float32)
    fuse_loras(unet, loras, model=card.name)
    # That of diffusers warns about layers to be kept in float32, of which there are none.
    torch.nn.Module.to(unet, _number_format(card.path / "unet"))
    titles = ", ".join(f"{lora.title} ({lora.weight:g})" for lora in made_from.loras)
    changed = {
        "name": target.name,
        "title": f"{facts.title} + {titles}"[:80],
        "licence": " and ".join(dict.fromkeys(licences)),
        "origin": None,  # these are no longer the weights that were fetched
        "made_from": made_from,
    }
    merged = facts.model_validate(facts.model_dump() | changed)
    size = sum(file.stat().st_size for file in card.path.rglob("*") if file.is_file())
    with new_folder(target, size) as folder:
        # The base model's README tells of the base model.
        shutil.copytree(
            card.path, folder, ignore=_all_but_unet_and_readme(card.path), dirs_exist_ok=True
        )
        unet.save_pretrained(folder / "unet")
        # The saved one would say where the base model lies on this machine.
        shutil.copy2(card.path / "unet" / "config.json", folder / "unet" / "config.json")
        text = merged.model_dump_json(indent=2, exclude_none=True)
        (folder / FACTS_FILE).write_text(text + "\n", encoding="utf-8")
    return target


def _added(source: LoraSource, inspector: WeightInspector) -> AddedLora:
    return AddedLora(
        title=read_lora(source.path).title,
        weight=source.weight,
        sha256=inspector.digest(lora_file(source.path)).hex(),
    )


def _number_format(folder: Path) -> torch.dtype:
    """That of the convolutions, which is that of the whole network here."""
    file = min(folder.glob("*.safetensors"))
    with safe_open(str(file), framework="np") as tensors:
        name = next(iter(tensors.keys()))
        return _NUMBERS.get(tensors.get_slice(name).get_dtype(), torch.float32)


def _all_but_unet_and_readme(top: Path) -> Callable[[str, list[str]], set[str]]:
    def ignored(folder: str, names: list[str]) -> set[str]:
        return {"unet", "README.md", FACTS_FILE} & set(names) if Path(folder) == top else set()

    return ignored
