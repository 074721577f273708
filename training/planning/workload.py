"""The cost of a recipe's steps, found without computing them: its model on torch's meta device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from training.data.manifest import read_manifest
from training.data.world import CANVAS
from training.planning import flop_counter, meta_models
from training.recipe.model import (
    CaptionFactsStage,
    ContrastiveStage,
    DiffusionStage,
    ImageToVideoStage,
    Recipe,
    RecipeError,
    TextToVideoStage,
    VaeStage,
)
from training.recipe.sections import LatentData, MediaData
from training.stages.tokenizer import MAX_TOKENS

_REDUCTION = 8
"""Pixels a side of one latent, of the demo's autoencoder and of Stable Diffusion's."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of step.

    Attributes:
        name: of a sample of it: "clip", "picture".
        share: of the steps, 0..1.
        samples: a step, of all processes and passes.
        flops: floating-point operations a sample: forward, backward, recomputation, and the
            frozen autoencoder where it encodes while training.
        activations: bytes that the forward pass of one sample keeps for the backward pass, and
            what the backward pass needs on top.
    """

    name: str
    share: float
    samples: int
    flops: float
    activations: float


@dataclass(frozen=True, slots=True)
class Workload:
    """A recipe's model and its kinds of steps; frozen towers do not count.

    Attributes:
        parameters: of the model.
        trained: those of them that the stage moves.
        kinds: of steps; their shares add up to 1.
    """

    parameters: int
    trained: int
    kinds: tuple[Kind, ...]


class _Step(NamedTuple):
    share: float
    samples: int
    forward: flop_counter.Forward
    frozen: float = 0.0
    """Operations a sample in frozen networks."""


class _Size(NamedTuple):
    """Of one sample: frames, and height and width of its latents."""

    frames: int
    height: int
    width: int


def measure_workload(recipe: Recipe) -> Workload:
    """Count parameters, operations and activations of a recipe.

    Where the stage before was not run yet, its model is the one of the shipped recipe of that name.

    Raises:
        RecipeError: the sizes cannot be built, or the stage before is neither run nor shipped.
    """
    try:
        return _WORKLOADS[type(recipe.stage)](recipe, recipe.stage)
    except RecipeError:
        raise
    except ValueError as error:
        raise RecipeError(f"recipe {recipe.name!r}: {error}") from error


def _vae(recipe: Recipe, stage: VaeStage) -> Workload:
    model = meta_models.autoencoder(stage)

    def forward(count: int) -> Tensor:
        pictures = _empty(recipe, count, 3, CANVAS, CANVAS)
        latents = model.encode(pictures).latent_dist.mode()
        decoded: Tensor = model.decode(latents).sample
        return decoded

    return _workload(recipe, model, {"picture": _Step(1.0, _batch(recipe), forward)})


def _contrastive(recipe: Recipe, stage: ContrastiveStage) -> Workload:
    model = meta_models.towers(stage)

    def forward(count: int) -> Tensor:
        frames = _empty(recipe, count, len(stage.frames), 3, CANVAS, CANVAS)
        scores: Tensor = model.embed_clips(frames) @ model.embed_text(_token_ids(count)).T
        return scores

    return _workload(recipe, model, {"clip": _Step(1.0, _batch(recipe), forward)})


def _caption_facts(recipe: Recipe, stage: CaptionFactsStage) -> Workload:
    model = meta_models.text_tower(stage.start)

    def forward(count: int) -> Tensor:
        hidden: Tensor = model(_token_ids(count)).last_hidden_state
        return hidden

    return _workload(recipe, model, {"caption": _Step(1.0, _batch(recipe), forward)})


def _text_to_video(recipe: Recipe, stage: TextToVideoStage) -> Workload:
    unet = meta_models.unet(stage)
    model = nn.ModuleDict({"unet": unet})
    text: Any = None
    if stage.text_rate > 0:
        text = meta_models.text_tower(stage.text or stage.start or stage.towers)
        model["text"] = text

    def forward(size: _Size, count: int) -> Tensor:
        if text is None:
            tokens = _empty(recipe, count, MAX_TOKENS, unet.config["context_dim"])
        else:
            tokens = text(_token_ids(count)).last_hidden_state
        return _denoise(recipe, unet, tokens, count, size)

    if recipe.lora is not None:
        model.requires_grad_(False)
        meta_models.add_lora(unet, recipe.lora)
    return _workload(recipe, model, _video_steps(recipe, stage, forward))


def _image_to_video(recipe: Recipe, stage: ImageToVideoStage) -> Workload:
    from training.stages.image_to_video import MAPPING_LAYERS, TEXT_LAYERS

    unet = meta_models.unet(stage)
    vision = meta_models.vision_facts(stage)
    projection = meta_models.projection(stage, vision.width, unet.config["context_dim"])
    mapping = stage.trains == "mapping"
    projection.requires_grad_(mapping)
    named = MAPPING_LAYERS if mapping else (*MAPPING_LAYERS, *TEXT_LAYERS)
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(any(part in name for part in named) == mapping)
    if recipe.lora is not None:
        unet.requires_grad_(False)
        meta_models.add_lora(unet, recipe.lora)

    def forward(size: _Size, count: int) -> Tensor:
        image = projection(_empty(recipe, count, vision.tokens, vision.width))
        tokens = _empty(recipe, count, MAX_TOKENS, unet.config["context_dim"])
        return _denoise(recipe, unet, tokens, count, size, image)

    model = nn.ModuleDict({"unet": unet, "projection": projection})
    return _workload(recipe, model, _video_steps(recipe, stage, forward))


_WORKLOADS: Mapping[type, Callable[[Recipe, Any], Workload]] = {
    VaeStage: _vae,
    ContrastiveStage: _contrastive,
    CaptionFactsStage: _caption_facts,
    TextToVideoStage: _text_to_video,
    ImageToVideoStage: _image_to_video,
}


def _video_steps(
    recipe: Recipe, stage: DiffusionStage, forward: Callable[[_Size, int], Tensor]
) -> dict[str, _Step]:
    batch, data = _batch(recipe), stage.data
    if data is None:
        share, pictures = stage.image_share, stage.image_batch
        size = _Size(stage.frames, CANVAS // _REDUCTION, CANVAS // _REDUCTION)
    else:
        share = data.picture_share
        size = _size_of_media(data) if isinstance(data, MediaData) else _size_of_latents(data)
        pictures = data.picture_batch or batch * size.frames
    encoding = _encoding(stage, size) if isinstance(data, MediaData) else 0.0  # a frame
    one = size._replace(frames=1)
    steps = {}
    if share < 1:
        steps["clip"] = _Step(1 - share, batch, partial(forward, size), size.frames * encoding)
    if share > 0:
        steps["picture"] = _Step(share, pictures, partial(forward, one), encoding)
    return steps


def _size_of_media(data: MediaData) -> _Size:
    resolution = data.resolution
    return _Size(
        data.window.frames, resolution.height // _REDUCTION, resolution.width // _REDUCTION
    )


def _size_of_latents(data: LatentData) -> _Size:
    from training.data.errors import DataError

    try:
        made = read_manifest(data.clips).preprocessing
        height, width = made["resolution"]["height"], made["resolution"]["width"]
        return _Size(made["window"]["frames"], height // _REDUCTION, width // _REDUCTION)
    except (DataError, OSError, KeyError, TypeError) as error:
        raise RecipeError(
            f"stage.data.clips: {data.clips} does not say its size: {error}"
        ) from error


def _encoding(stage: DiffusionStage, size: _Size) -> float:
    """Operations of the frozen autoencoder for one frame."""
    vae = meta_models.frozen_autoencoder(stage)
    pixels = 1, 3, size.height * _REDUCTION, size.width * _REDUCTION

    def encode(_count: int) -> Tensor:
        latents: Tensor = vae.encode(torch.empty(pixels, device="meta")).latent_dist.mode()
        return latents

    return flop_counter.forward_operations(encode)


def _denoise(
    recipe: Recipe,
    unet: nn.Module,
    tokens: Tensor,
    count: int,
    size: _Size,
    image: Tensor | None = None,
) -> Tensor:
    latents = _empty(recipe, count, 4, *size)
    times = torch.zeros(count, device="meta", dtype=latents.dtype)
    prediction: Tensor = unet(
        latents,
        times,
        tokens.to(latents.dtype),
        fps=times,
        image_hidden_states=image,
        skip_temporal=size.frames == 1,
    ).sample
    return prediction


def _workload(recipe: Recipe, model: nn.Module, steps: Mapping[str, _Step]) -> Workload:
    parameters = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if recipe.optimisation.gradient_checkpointing:
        for module in model.modules():
            if getattr(module, "_supports_gradient_checkpointing", False):
                enable: Any = module.enable_gradient_checkpointing
                enable()
    nn.Module.to(model.train(), _dtype(recipe))  # not diffusers', which warns of precision
    kinds = [
        Kind(
            name,
            step.share,
            step.samples,
            flop_counter.operations(model, step.forward) + step.frozen,
            flop_counter.activations(model, step.forward),
        )
        for name, step in steps.items()
    ]
    return Workload(parameters, trained, tuple(kinds))


def _batch(recipe: Recipe) -> int:
    return recipe.optimisation.batch_size


def _dtype(recipe: Recipe) -> torch.dtype:
    return torch.bfloat16 if recipe.optimisation.precision == "bf16" else torch.float32


def _empty(recipe: Recipe, *shape: int) -> Tensor:
    return torch.empty(shape, device="meta", dtype=_dtype(recipe))


def _token_ids(count: int) -> Tensor:
    return torch.zeros(count, MAX_TOKENS, dtype=torch.int64, device="meta")
