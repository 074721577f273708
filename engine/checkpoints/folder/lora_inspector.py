"""Check LoRAs against the models that they are added to."""

from __future__ import annotations

from pathlib import Path

from engine.checkpoints.folder.layout import find_network
from engine.checkpoints.folder.lora import (
    LORA_METADATA,
    Lora,
    LoraSource,
    check_values,
    lora_file,
    read_lora,
)
from engine.checkpoints.folder.lora_settings import ADAPTER_CONFIG
from engine.checkpoints.folder.reading import stamp_of
from engine.checkpoints.folder.tensors import read_header
from engine.checkpoints.folder.weights import WeightInspector


class LoraInspector:
    """Reads LoRAs and checks that they fit; remembers the answer until a file changes.

    Args:
        weights: fingerprints the files.
    """

    def __init__(self, weights: WeightInspector) -> None:
        self._weights = weights
        self._known: dict[tuple[object, ...], Lora] = {}

    def check(self, source: LoraSource, base: str, folder: Path, *revisions: str) -> Lora:
        """Read a LoRA and check it against the model of that name, folder and revisions.

        Raises:
            ModelLoadError: as `read_lora` and `check_values`, or it was made for another model.
        """
        file = lora_file(source.path)
        beside = tuple(
            stamp_of(path) if path.exists() else None
            for path in (file.parent / LORA_METADATA, file.parent / ADAPTER_CONFIG)
        )
        key = (source.path, self._weights.digest(file), beside, base, revisions)
        lora = self._known.get(key)
        if lora is None:
            lora = read_lora(source.path)
            lora.check_base(base, *revisions)
            lora.check_shapes(base, unet_shapes(folder))
            check_values(lora)
            self._known[key] = lora
        return lora


def unet_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a model folder's UNet.

    Raises:
        ModelLoadError: a file is damaged.
    """
    files = find_network(folder / "unet", "diffusers", top=folder)
    return {
        name: tensor.shape
        for file in files.weights
        for name, tensor in read_header(file).tensors.items()
    }
