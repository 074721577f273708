"""The spatial layers of a video UNet from an image model (VideoCrafter1, section 3.1).

The image model is a Stable Diffusion 2.x in diffusers' layout. Its UNet is the video UNet without
time: same order of layers, same sizes, other names. Whatever concerns time stays silent, so before
the first step the video model shows on every frame what the image model shows:

- temporal transformers and convolutions end in layers of zeros, as :class:`VideoUNet` makes them;
- the frame-rate embedding is given such a last layer here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from engine.models import VideoUNet
from engine.models.layers import Downsample, Upsample
from engine.models.original_names import transformer_modules
from training.recipe.hub import fetch_folder, is_hub_name
from training.recipe.model import RecipeError

_WEIGHTS: Final = "diffusion_pytorch_model"
_HUB_FILES: Final = ("unet/config.json", f"unet/{_WEIGHTS}.safetensors*", f"unet/{_WEIGHTS}-*")
_RESIDUAL: Final = {
    "norm_1": "norm1",
    "conv_1": "conv1",
    "embedding": "time_emb_proj",
    "norm_2": "norm2",
    "conv_2": "conv2",
    "shortcut": "conv_shortcut",
}

_ONLY: Final[Mapping[str, tuple[Any, ...]]] = {
    "act_fn": ("silu",),
    "addition_embed_type": (None,),
    "attention_type": ("default",),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "downsample_padding": (1,),
    "dual_cross_attention": (False,),
    "flip_sin_to_cos": (True,),
    "freq_shift": (0,),
    "mid_block_scale_factor": (1,),
    "norm_eps": (1e-5,),
    "norm_num_groups": (32,),
    "only_cross_attention": (False,),
    "resnet_out_scale_factor": (1.0,),
    "resnet_skip_time_act": (False,),
    "resnet_time_scale_shift": ("default",),
    "time_cond_proj_dim": (None,),
    "time_embedding_type": ("positional",),
    "timestep_post_act": (None,),
}
"""Options of diffusers' UNet, not told by tensors, that must be as the video UNet computes."""


@dataclass(frozen=True, slots=True)
class ImageUNet:
    """The UNet of an image model: diffusers' configuration and tensors, and where they were."""

    source: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def read_image_unet(source: str) -> ImageUNet:
    """Read the UNet of a Stable Diffusion 2.x, of which only ``unet/`` is looked at.

    Args:
        source: a folder in diffusers' layout, or ``hub:OWNER/NAME`` (``@REVISION`` may follow),
            which is taken from huggingface_hub's cache and fetched where it is not there yet.

    Raises:
        RecipeError: there is no such folder or repository, or it holds no safetensors weights.
    """
    root = fetch_folder(source, _HUB_FILES) if is_hub_name(source) else Path(source)
    folder = root / "unet"
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(
            f"stage.initialise: {path} does not exist; name the folder of a Stable Diffusion 2.x "
            "in diffusers' layout, or hub:OWNER/NAME"
        ) from None
    except (OSError, ValueError) as error:
        raise RecipeError(f"stage.initialise: {path} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise RecipeError(f"stage.initialise: {path} does not hold a JSON object")
    return ImageUNet(source, config, _read_tensors(folder))


def initialise_from_image_model(unet: VideoUNet, image: ImageUNet) -> None:
    """Give a fresh video UNet the spatial layers of an image model, and silence its frame rate.

    Raises:
        RecipeError: a tensor of the image model has no place, a spatial one of the video UNet gets
            none, or a shape or option differs; each by name.
    """
    if faults := list(_different_options(unet, image.config)):
        raise RecipeError(f"stage.initialise: {image.source}: {'; '.join(faults)}")
    names = image_names(unet)
    own = unet.state_dict()
    given = image.tensors
    missing = sorted(set(names.values()) - set(given))
    unused = sorted(set(given) - set(names.values()))
    unfilled = sorted(n for n in own if n not in names and not reinitialized(n))
    misfits = [
        f"{theirs} {list(given[theirs].shape)} for {list(own[ours].shape)}"
        for ours, theirs in names.items()
        if theirs in given and not _fits(given[theirs], own[ours])
    ]
    titles = ("missing", "not used", "without an origin", "of another shape")
    problems = [
        f"{title}: {', '.join(found)}"
        for title, found in zip(titles, (missing, unused, unfilled, misfits), strict=True)
        if found
    ]
    if problems:
        raise RecipeError(f"stage.initialise: tensors of {image.source}: {'; '.join(problems)}")
    loaded = {
        ours: given[theirs].float().reshape(own[ours].shape) for ours, theirs in names.items()
    }
    unet.load_state_dict(loaded, strict=False)
    zero_init_fps(unet)


def zero_init_fps(unet: VideoUNet) -> None:
    """Let the frame-rate embedding begin as zeros; gradients still reach its last layer."""
    if unet.fps_embedding is not None:
        with torch.no_grad():
            unet.fps_embedding.linear_2.weight.zero_()
            unet.fps_embedding.linear_2.bias.zero_()


def reinitialized(name: str) -> bool:
    """Return whether a tensor of the video UNet, for time or a picture, is in no image model."""
    new = ("temporal.", "initial_temporal.", "fps_embedding.", "to_k_image.", "to_v_image.")
    return any(f".{part}" in f".{name}" for part in new)


def image_names(unet: VideoUNet) -> dict[str, str]:
    """Map the name of each spatial tensor of ours to diffusers' name."""
    modules = dict(_modules(unet))
    names = {}
    for name in unet.state_dict():
        if reinitialized(name):
            continue
        module, _, kind = name.rpartition(".")
        if module in modules:
            names[name] = f"{modules[module]}.{kind}"
    return names


def _modules(unet: VideoUNet) -> Iterator[tuple[str, str]]:
    """Pairs of our module name and diffusers' one, for all modules that there may be."""
    for layer in ("linear_1", "linear_2"):
        yield f"time_embedding.{layer}", f"time_embedding.{layer}"
    yield "conv_in", "conv_in"
    yield from _level_modules(unet, unet.down, "down")
    yield from _residual_modules("mid_in.residual", "mid_block.resnets.0")
    yield from transformer_modules(unet, "mid_in.spatial", "mid_block.attentions.0")
    yield from _residual_modules("mid_out", "mid_block.resnets.1")
    yield from _level_modules(unet, unet.up, "up")
    yield "norm_out", "conv_norm_out"
    yield "conv_out", "conv_out"


def _level_modules(unet: VideoUNet, blocks: nn.ModuleList, way: str) -> Iterator[tuple[str, str]]:
    """A level is some blocks and, except for the last of a way, a change of size after them."""
    level = place = 0
    for index, block in enumerate(blocks):
        ours, theirs = f"{way}.{index}", f"{way}_blocks.{level}"
        if isinstance(block, Downsample | Upsample):
            yield f"{ours}.conv", f"{theirs}.{way}samplers.0.conv"
            level, place = level + 1, 0
        else:
            yield from _residual_modules(f"{ours}.residual", f"{theirs}.resnets.{place}")
            yield from transformer_modules(unet, f"{ours}.spatial", f"{theirs}.attentions.{place}")
            place += 1


def _residual_modules(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    for part, their_part in _RESIDUAL.items():
        yield f"{ours}.{part}", f"{theirs}.{their_part}"


def _different_options(unet: VideoUNet, config: Mapping[str, Any]) -> Iterator[str]:
    if config.get("_class_name", "UNet2DConditionModel") != "UNet2DConditionModel":
        yield f"_class_name is {config['_class_name']}, not UNet2DConditionModel"
    for option, allowed in _ONLY.items():
        if option in config and config[option] not in allowed:
            yield f"{option} is {config[option]!r}, only {allowed[0]!r} is known"
    widths = config.get("block_out_channels", ())
    # diffusers calls the number of heads by this name, for reasons of its own history.
    heads = config.get("num_attention_heads") or config.get("attention_head_dim", 8)
    per_level = heads if isinstance(heads, list | tuple) else [heads] * len(widths)
    wanted = unet.config["num_head_channels"]
    for width, count in zip(widths, per_level, strict=False):
        if width != wanted * count:
            yield f"attention_head_dim: {count} heads of {width} channels, heads of {wanted} wanted"


def _fits(theirs: Tensor, ours: Tensor) -> bool:
    # Without use_linear_projection theirs are 1x1 convolutions: same numbers, two more axes.
    return theirs.shape == ours.shape or (
        theirs.ndim == 4 and theirs.shape[2:] == (1, 1) and theirs.shape[:2] == ours.shape
    )


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a component, in one file or in shards; never of a variant such as fp16."""
    tensors: dict[str, Tensor] = {}
    try:
        for file in _weight_files(folder):
            with safe_open(file, framework="pt") as stored:
                tensors |= {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise RecipeError(
            f"stage.initialise: {folder} has no safetensors weights, the only ones read: {error}"
        ) from None
    except (OSError, KeyError, json.JSONDecodeError, SafetensorError) as error:
        raise RecipeError(f"stage.initialise: {folder} cannot be read: {error}") from error
    return tensors


def _weight_files(folder: Path) -> list[Path]:
    index = folder / f"{_WEIGHTS}.safetensors.index.json"
    if not index.exists():
        return [folder / f"{_WEIGHTS}.safetensors"]
    shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    return [folder / name for name in sorted(set(shards.values()))]
