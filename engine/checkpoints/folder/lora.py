"""LoRA files: what they state, whether they are whole, and whether they fit a model.

A LoRA is a safetensors file in the layout of diffusers and peft, for each layer
`[unet.]<layer>.lora_A.weight [rank, in]` and `….lora_B.weight [out, rank]`, with rank and alpha
in the file's metadata. Beside it, `lora.json` says which model it was trained on. Only headers
are read here; no model framework is needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.text import printable
from common.validation import first_fault
from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.folder.json_reader import read_object
from engine.checkpoints.folder.lora_settings import read_settings
from engine.checkpoints.folder.reading import check_inside, check_regular
from engine.checkpoints.folder.tensor_values import largest_values
from engine.checkpoints.folder.tensors import read_header

LORA_METADATA: Final = "lora.json"
LORA_WEIGHTS: Final = "pytorch_lora_weights.safetensors"
MAX_LORA_WEIGHT: Final = 4.0
"""A LoRA counts at most so much, in either direction; far beyond 1 a model falls apart."""

_MAX_UPDATE: Final = 1e6  # weights of a network are of the order of 1
_TENSOR: Final = re.compile(r"(?:unet\.)?(?P<layer>.+)\.lora_(?P<side>[AB])\.weight")

LoraWeight = Annotated[float, Field(ge=-MAX_LORA_WEIGHT, le=MAX_LORA_WEIGHT, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class LoraSource:
    """A LoRA file, or a folder with one, and how much it counts: 0 nothing, 1 as trained.

    Raises:
        ValueError: the weight is outside -4 to 4.
    """

    path: Path
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not -MAX_LORA_WEIGHT <= self.weight <= MAX_LORA_WEIGHT:  # refuses NaN, too
            raise ValueError(
                f"the weight of a LoRA lies between -{MAX_LORA_WEIGHT:g} and "
                f"{MAX_LORA_WEIGHT:g}, not at {self.weight:g}"
            )


@dataclass(frozen=True, slots=True)
class LoraVariant:
    """A model made of another one, by its name, and of LoRAs that are added to its UNet."""

    base: str
    loras: tuple[LoraSource, ...]


class LoraMetadata(BaseModel):
    """The contents of `lora.json`, validated.

    `base` is the name of the model that it was trained on, and `base_revision` that model's
    weights. `weight` is how much it counts unless something else is said.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: Annotated[str, Field(min_length=1, max_length=80)]
    base: Annotated[str, Field(min_length=1, max_length=64)]
    base_revision: str | None = None
    weight: LoraWeight = 1.0
    trigger_words: tuple[str, ...] = ()
    licence: Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA as its header describes it.

    Attributes:
        file: the safetensors file.
        metadata: of the `lora.json` beside it, if there is one.
        rank: of every layer.
        alpha: the update of a layer is `alpha / rank * B A`, or `alpha / sqrt(rank) * B A`
            with `rslora` (arXiv 2312.03732).
        layers: name of a UNet layer to its (out, in) features.
    """

    file: Path
    metadata: LoraMetadata | None
    rank: int
    alpha: float
    rslora: bool
    layers: Mapping[str, tuple[int, int]]

    @property
    def facts(self) -> LoraMetadata | None:
        """The earlier name of `metadata`, kept for one release."""
        return self.metadata

    @property
    def title(self) -> str:
        """Name that people call the LoRA by."""
        if self.metadata is not None:
            return self.metadata.title
        return self.file.parent.name if self.file.name == LORA_WEIGHTS else self.file.stem

    @property
    def scale(self) -> float:
        """By what the product of a layer's two matrices is multiplied."""
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)

    def check_base(self, name: str, *revisions: str) -> None:
        """Raise if this LoRA was not made for a model of this name and these revisions.

        Args:
            name: of the model.
            revisions: its own and that of its weights alone, which older LoRAs state.

        Raises:
            ModelLoadError: neither is what `lora.json` states.
        """
        metadata = self.metadata
        if (
            metadata is not None
            and name != metadata.base
            and metadata.base_revision not in revisions
        ):
            raise ModelLoadError(
                f"{self.file} was trained on the model {metadata.base}, not {name}."
            )

    def check_shapes(self, name: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Raise if the UNet of the model of that name has tensors of other shapes.

        Raises:
            ModelLoadError: names the first layer that does not fit.
        """
        for layer, features in self.layers.items():
            shape = shapes.get(f"{layer}.weight")
            if shape is None:
                raise ModelLoadError(
                    f"{self.file} does not fit the model {name}, which has no layer {layer}."
                )
            if shape != features:
                raise ModelLoadError(
                    f"{self.file} does not fit the model {name}: the layer {layer} is "
                    f"{_times(shape)} there, {_times(features)} here."
                )


def read_lora(path: Path) -> Lora:
    """Read and check the header of a LoRA, and its `lora.json`.

    Args:
        path: a safetensors file, or a folder that holds one.

    Raises:
        ModelLoadError: it is missing, damaged, no LoRA of a UNet, or of a kind that is not known;
            the text names the file and the tensor.
    """
    file = lora_file(path)
    header = read_header(file)
    settings = read_settings(file, header.metadata)
    sides: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, tensor in header.tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise ModelLoadError(
                f"{file} is no LoRA for the UNet: it holds the tensor {printable(name, 120)}."
            )
        pair = sides.setdefault(match["layer"], {})
        if match["side"] in pair:
            raise ModelLoadError(
                f"{file} holds {printable(match['layer'], 120)} twice: with and without 'unet.'."
            )
        pair[match["side"]] = tensor.shape
    header.check_floating(file)
    layers: dict[str, tuple[int, int]] = {}
    rank = settings.rank
    for layer, pair in sides.items():
        down, up = pair.get("A"), pair.get("B")
        if down is None or up is None or len(down) != 2 or len(up) != 2 or down[0] != up[1]:
            raise ModelLoadError(
                f"{file}: the two tensors of {layer} do not belong together: "
                f"{_times(down)} and {_times(up)}."
            )
        if 0 in (*down, *up):
            raise ModelLoadError(f"{file}: {layer} is empty; a LoRA's rank is at least 1.")
        rank = down[0] if rank is None else rank
        if down[0] != rank:
            raise ModelLoadError(f"{file}: {layer} has the rank {down[0]}, the LoRA {rank}.")
        layers[layer] = (up[0], down[1])
    if rank is None:
        raise ModelLoadError(f"{file} holds no layers.")
    metadata = _read_metadata(file.parent / LORA_METADATA)
    alpha = float(rank) if settings.alpha is None else settings.alpha
    return Lora(file, metadata, rank, alpha, settings.rslora, layers)


def check_values(lora: Lora) -> None:
    """Read all numbers of a LoRA, and refuse those that no network could take.

    Raises:
        ModelLoadError: a value is infinite or no number, or an update could be; names the layer.
    """
    header = read_header(lora.file)
    largest: dict[str, float] = {}
    for name, value in largest_values(lora.file, header).items():
        match = _TENSOR.fullmatch(name)
        layer = name if match is None else match["layer"]
        largest[layer] = largest.get(layer, 1.0) * value
    for layer, product in largest.items():
        if not product * lora.rank * lora.scale <= _MAX_UPDATE:
            raise ModelLoadError(
                f"{lora.file}: its values and its alpha of {lora.alpha:g} make an update of "
                f"{printable(layer, 120)} that is out of all proportion."
            )


def lora_file(path: Path) -> Path:
    """The weight file of a LoRA, given it or its folder.

    Raises:
        ModelLoadError: there is none, or the folder holds several.
    """
    if not path.exists():
        raise ModelLoadError(f"The LoRA {path} does not exist.")
    if not path.is_dir():
        check_regular(path)
        if path.suffix != ".safetensors":
            raise ModelLoadError(f"{path} is no .safetensors file; others are not loaded as LoRA.")
        return path
    found = [path / LORA_WEIGHTS]
    if not found[0].exists():
        # Those that begin with a dot are companions that macOS leaves on foreign disks.
        found = [file for file in sorted(path.glob("*.safetensors")) if file.name[0] != "."]
    if len(found) != 1:
        what = "several .safetensors files" if found else "no .safetensors file"
        raise ModelLoadError(f"{path} holds {what}, and no {LORA_WEIGHTS}.")
    check_regular(found[0])
    check_inside(found[0], path)
    return found[0]


def read_lora_metadata(folder: Path) -> LoraMetadata:
    """Read and check the `lora.json` of a LoRA folder.

    Raises:
        ModelLoadError: it is missing, no JSON, or states something impossible.
    """
    metadata = _read_metadata(folder / LORA_METADATA)
    if metadata is None:
        raise ModelLoadError(f"{folder / LORA_METADATA} is missing.")
    return metadata


def _read_metadata(path: Path) -> LoraMetadata | None:
    if not path.exists():
        return None
    check_inside(path, path.parent)
    try:
        return LoraMetadata.model_validate(read_object(path))
    except ValidationError as error:
        raise ModelLoadError(f"{path}: {first_fault(error)}.") from error


def _times(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else "x".join(map(str, shape))


# The earlier names, kept for one release.
LORA_FACTS = LORA_METADATA
LoraFacts = LoraMetadata
