"""LoRA files: what they state, whether they are whole, and whether they fit a model.

A LoRA is a safetensors file in the layout of diffusers and peft, for each layer
``[unet.]<layer>.lora_A.weight [rank, in]`` and ``….lora_B.weight [out, rank]``, with rank and alpha
in the file's metadata. Beside it, ``lora.json`` says which model it was trained on. Only headers
are read here; no model framework is needed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open

from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.weights import WeightInspector, read_json_object

LORA_FACTS: Final = "lora.json"
LORA_WEIGHTS: Final = "pytorch_lora_weights.safetensors"
MAX_LORA_WEIGHT: Final = 4.0
"""A LoRA counts at most so much, in either direction; far beyond 1 a model falls apart."""

_METADATA: Final = "lora_adapter_metadata"  # as diffusers names it
_TENSOR: Final = re.compile(r"(?:unet\.)?(?P<layer>.+)\.lora_(?P<side>[AB])\.weight")
_NOT_PLAIN: Final = ("use_dora", "use_qalora", "lora_bias", "rank_pattern", "alpha_pattern")

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


class LoraFacts(BaseModel):
    """The contents of ``lora.json``, validated.

    ``base`` is the name of the model that it was trained on, and ``base_revision`` that model's
    weights. ``weight`` is how much it counts unless something else is said.
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
        facts: of the ``lora.json`` beside it, if there is one.
        rank: of every layer.
        alpha: the update of a layer is ``alpha / rank * B A``, or ``alpha / sqrt(rank) * B A``
            with ``rslora`` (arXiv 2312.03732).
        layers: name of a UNet layer to its (out, in) features.
    """

    file: Path
    facts: LoraFacts | None
    rank: int
    alpha: float
    rslora: bool
    layers: Mapping[str, tuple[int, int]]

    @property
    def title(self) -> str:
        """What people call it."""
        if self.facts is not None:
            return self.facts.title
        return self.file.parent.name if self.file.name == LORA_WEIGHTS else self.file.stem

    def check_base(self, name: str, revision: str) -> None:
        """Refuse a model, by name and revision of its weights, that this LoRA was not made for.

        Raises:
            ModelLoadError: neither is what ``lora.json`` states.
        """
        facts = self.facts
        if facts is not None and name != facts.base and revision != facts.base_revision:
            raise ModelLoadError(f"{self.file} was trained on the model {facts.base}, not {name}.")

    def check_shapes(self, name: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse a model of that name whose UNet has tensors of other shapes.

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
    """Read and check the header of a LoRA, and its ``lora.json``.

    Args:
        path: a safetensors file, or a folder that holds one.

    Raises:
        ModelLoadError: it is missing, damaged, no LoRA of a UNet, or of a kind that is not known;
            the text names the file and the tensor.
    """
    file = lora_file(path)
    shapes, metadata = _header(file)
    settings = _settings(file, metadata)
    sides: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise ModelLoadError(f"{file} is no LoRA for the UNet: it holds the tensor {name}.")
        sides.setdefault(match["layer"], {})[match["side"]] = shape
    layers: dict[str, tuple[int, int]] = {}
    rank = settings.get("r")
    for layer, pair in sides.items():
        down, up = pair.get("A"), pair.get("B")
        if down is None or up is None or len(down) != 2 or len(up) != 2 or down[0] != up[1]:
            raise ModelLoadError(
                f"{file}: the two tensors of {layer} do not belong together: "
                f"{_times(down)} and {_times(up)}."
            )
        rank = down[0] if rank is None else rank
        if down[0] != rank:
            raise ModelLoadError(f"{file}: {layer} has the rank {down[0]}, the LoRA {rank}.")
        layers[layer] = (up[0], down[1])
    assert isinstance(rank, int)  # there is a layer
    facts = _read_facts(file.parent / LORA_FACTS)
    alpha = settings.get("lora_alpha", rank)
    if not isinstance(alpha, int | float) or isinstance(alpha, bool):
        raise ModelLoadError(f"{file}: lora_alpha is no number: {alpha!r}.")
    return Lora(file, facts, rank, float(alpha), settings.get("use_rslora") is True, layers)


def lora_file(path: Path) -> Path:
    """The weight file of a LoRA, given it or its folder.

    Raises:
        ModelLoadError: there is none, or the folder holds several.
    """
    if not path.exists():
        raise ModelLoadError(f"The LoRA {path} does not exist.")
    if path.is_file():
        if path.suffix != ".safetensors":
            raise ModelLoadError(f"{path} is no .safetensors file; others are not loaded as LoRA.")
        return path
    if (path / LORA_WEIGHTS).is_file():
        return path / LORA_WEIGHTS
    found = sorted(path.glob("*.safetensors"))
    if len(found) != 1:
        what = "several .safetensors files" if found else "no .safetensors file"
        raise ModelLoadError(f"{path} holds {what}, and no {LORA_WEIGHTS}.")
    return found[0]


class LoraInspector:
    """Reads LoRAs and checks that they fit; remembers the answer until a file changes.

    Args:
        weights: fingerprints the files.
    """

    def __init__(self, weights: WeightInspector) -> None:
        self._weights = weights
        self._known: dict[tuple[object, ...], Lora] = {}

    def digest(self, source: LoraSource) -> bytes:
        """What is in the LoRA's file.

        Raises:
            ModelLoadError: as `read_lora`.
        """
        return self._weights.digest(lora_file(source.path))

    def fitting(self, source: LoraSource, base: str, folder: Path, revision: str) -> Lora:
        """The LoRA, checked against the model of that name, folder and revision.

        Raises:
            ModelLoadError: as `read_lora`, or it was made for another model.
        """
        facts = lora_file(source.path).parent / LORA_FACTS
        stamp = facts.stat().st_mtime_ns if facts.exists() else 0
        key = (source.path, self.digest(source), stamp, base, revision)
        lora = self._known.get(key)
        if lora is None:
            lora = read_lora(source.path)
            lora.check_base(base, revision)
            lora.check_shapes(base, unet_shapes(folder))
            self._known[key] = lora
        return lora


def unet_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a model folder's UNet.

    Raises:
        ModelLoadError: a file is damaged.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted((folder / "unet").glob("*.safetensors")):
        shapes |= _header(file)[0]
    return shapes


def read_lora_facts(folder: Path) -> LoraFacts:
    """Read and check the ``lora.json`` of a LoRA folder.

    Raises:
        ModelLoadError: it is missing, no JSON, or states something impossible.
    """
    facts = _read_facts(folder / LORA_FACTS)
    if facts is None:
        raise ModelLoadError(f"{folder / LORA_FACTS} is missing.")
    return facts


def _read_facts(path: Path) -> LoraFacts | None:
    if not path.exists():
        return None
    try:
        return LoraFacts.model_validate(read_json_object(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ModelLoadError(f"{path}: {key}: {first['msg']}.") from error


def _header(file: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    try:
        with safe_open(str(file), framework="np") as tensors:
            names = tensors.keys()
            shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in names}
            metadata = dict(tensors.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ModelLoadError(f"{file} is damaged or no safetensors file ({error}).") from error
    if not shapes:
        raise ModelLoadError(f"{file} holds no tensors.")
    return shapes, metadata


def _settings(file: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What peft was told when the LoRA was made. It is data: only known numbers are taken."""
    try:
        settings = json.loads(metadata.get(_METADATA, "{}"))
    except ValueError as error:
        raise ModelLoadError(f"{file}: its metadata is no JSON ({error}).") from error
    if not isinstance(settings, dict):
        raise ModelLoadError(f"{file}: its metadata is no JSON object.")
    settings = {key.removeprefix("unet."): value for key, value in settings.items()}
    for key in _NOT_PLAIN:
        if settings.get(key):
            raise ModelLoadError(f"{file}: {key} is not supported; only plain LoRA is.")
    if settings.get("peft_type", "LORA") != "LORA":
        raise ModelLoadError(f"{file} is a {settings['peft_type']}, no LoRA.")
    return settings


def _times(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else "x".join(map(str, shape))
