"""Names and configuration of the released checkpoints, translated to ours and back.

The released names number the blocks of the way down and up through; ours name what a block is.
:func:`unet_original_names` is the single table between them, derived from a built UNet, so
nothing is guessed: a name outside it is left over, and said so. The networks themselves build
on this module (``from_original``), so it knows of them only that they are modules with parts of
these names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engine.models.layers import Downsample, Upsample

UNET_PREFIX = "model.diffusion_model."
PROJECTION_PREFIX = "image_proj_model."

_SCALAR_EMBEDDING = {"linear_1": "0", "linear_2": "2"}
_RESIDUAL = {
    "norm_1": "in_layers.0",
    "conv_1": "in_layers.2",
    "embedding": "emb_layers.1",
    "norm_2": "out_layers.0",
    "conv_2": "out_layers.3",
    "shortcut": "skip_connection",
}
# The released code spells it so.
_TEMPORAL_CONVOLUTION = {
    f"temporal.norms.{i}": f"temopral_conv.conv{i + 1}.0" for i in range(4)
} | {f"temporal.convs.{i}": f"temopral_conv.conv{i + 1}.{2 if i == 0 else 3}" for i in range(4)}
_TRANSFORMER_BLOCK = {
    "norm_1": "norm1",
    "norm_2": "norm2",
    "norm_3": "norm3",
    "feed_forward.proj_in": "ff.net.0.proj",
    "feed_forward.proj_out": "ff.net.2",
}
_ATTENTION = {
    "to_q": "to_q",
    "to_k": "to_k",
    "to_v": "to_v",
    "to_k_image": "to_k_ip",
    "to_v_image": "to_v_ip",
    "to_out": "to_out.0",
    "relative.key": "relative_position_k.embeddings_table",
    "relative.value": "relative_position_v.embeddings_table",
}

_PROJECTION_LAYER = {
    "attention.norm_image": "0.norm1",
    "attention.norm_latents": "0.norm2",
    "attention.to_q": "0.to_q",
    "attention.to_kv": "0.to_kv",
    "attention.to_out": "0.to_out",
    "feed_forward.norm": "1.0",
    "feed_forward.proj_in": "1.1",
    "feed_forward.proj_out": "1.3",
}

# Options of the released yaml files that change nothing here (memory, training) or must have the
# one value that all released models have.
_IGNORED_OPTIONS = frozenset({"use_checkpoint", "use_linear", "image_size", "legacy", "use_fp16"})
_FIXED_OPTIONS: dict[str, Any] = {
    "temporal_attention": True,
    "temporal_selfatt_only": True,
    "use_causal_attention": False,
    "tempspatial_aware": False,
    "conv_resample": True,
    "dims": 2,
    "resblock_updown": False,
    "use_scale_shift_norm": False,
}
_RENAMED_OPTIONS = {
    "in_channels": "in_channels",
    "out_channels": "out_channels",
    "model_channels": "model_channels",
    "channel_mult": "channel_mult",
    "num_res_blocks": "num_res_blocks",
    "attention_resolutions": "attention_resolutions",
    "num_head_channels": "num_head_channels",
    "transformer_depth": "transformer_depth",
    "context_dim": "context_dim",
    "temporal_length": "temporal_length",
    "dropout": "dropout",
    "use_relative_position": "relative_position",
    "temporal_conv": "temporal_convolution",
    "use_image_attention": "image_cross_attention",
    "fps_cond": "fps_conditioning",
    "addition_attention": "initial_temporal_attention",
}
# What the released code assumes where a yaml file is silent.
_ORIGINAL_DEFAULTS: dict[str, Any] = {
    "relative_position": True,
    "temporal_convolution": False,
    "image_cross_attention": False,
    "fps_conditioning": False,
    "initial_temporal_attention": False,
    "transformer_depth": 1,
    "dropout": 0.0,
}


def unet_config_from_original(unet_config: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the ``unet_config.params`` of a released yaml file to ours.

    Raises:
        ValueError: an unknown option, or one with a value that this UNet does not have.
    """
    config = dict(_ORIGINAL_DEFAULTS)
    for option, value in unet_config.items():
        if option in _FIXED_OPTIONS:
            if value != _FIXED_OPTIONS[option]:
                raise ValueError(
                    f"unet_config.{option}: only {_FIXED_OPTIONS[option]} is supported, got {value}"
                )
        elif option in _RENAMED_OPTIONS:
            is_list = isinstance(value, list | tuple)
            config[_RENAMED_OPTIONS[option]] = tuple(value) if is_list else value
        elif option not in _IGNORED_OPTIONS:
            raise ValueError(f"unet_config.{option}: unknown option")
    return config


def unet_original_names(unet: nn.Module) -> dict[str, str]:
    """Map each of our tensor names to its released name (without the prefix)."""
    modules = dict(_unet_modules(unet))
    names = {}
    for name in unet.state_dict():
        module = max((m for m in modules if name.startswith(f"{m}.")), key=len, default=None)
        if module is None:  # a bare parameter is listed by its own name
            names[name] = modules[name]
        else:
            names[name] = modules[module] + name.removeprefix(module)
    return names


def projection_original_names(projection: nn.Module) -> dict[str, str]:
    """Map each of our tensor names to its released name (without the prefix)."""
    return {name: _projection_original_name(name) for name in projection.state_dict()}


def _projection_original_name(name: str) -> str:
    for ours, theirs in _PROJECTION_LAYER.items():
        name = name.replace(f".{ours}.", f".{theirs}.")
    return name


def _unet_modules(unet: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield pairs of our module (or parameter) name and the released one."""
    down, up = _parts(unet, "down"), _parts(unet, "up")
    for embedding, original in (
        ("time_embedding", "time_embed"),
        ("fps_embedding", "fps_embedding"),
    ):
        for ours, theirs in _SCALAR_EMBEDDING.items():
            yield f"{embedding}.{ours}", f"{original}.{theirs}"
    yield "conv_in", "input_blocks.0.0"
    yield from transformer_modules(unet, "initial_temporal", "init_attn.0")
    for index, block in enumerate(down):
        if isinstance(block, Downsample):
            yield f"down.{index}.conv", f"input_blocks.{index + 1}.0.op"
        else:
            yield from _block_modules(unet, f"down.{index}", f"input_blocks.{index + 1}")
    yield from _block_modules(unet, "mid_in", "middle_block")
    yield from _residual_modules("mid_out", "middle_block.3")
    number = -1
    for index, block in enumerate(up):
        if isinstance(block, Upsample):
            # The released code keeps the upsampling in the block before it, as its last part.
            position = 1 if up[index - 1].spatial is None else 3
            yield f"up.{index}.conv", f"output_blocks.{number}.{position}.conv"
        else:
            number += 1
            yield from _block_modules(unet, f"up.{index}", f"output_blocks.{number}")
    yield "norm_out", "out.0"
    yield "conv_out", "out.2"


def _block_modules(unet: nn.Module, ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    yield from _residual_modules(f"{ours}.residual", f"{theirs}.0")
    yield from transformer_modules(unet, f"{ours}.spatial", f"{theirs}.1")
    yield from transformer_modules(unet, f"{ours}.temporal", f"{theirs}.2")


def _residual_modules(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    for part, original in (_RESIDUAL | _TEMPORAL_CONVOLUTION).items():
        yield f"{ours}.{part}", f"{theirs}.{original}"


def transformer_modules(unet: nn.Module, ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    """Yield pairs of our module name and the released one of a transformer of the UNet.

    Stable Diffusion has the same inside.
    """
    for part in ("norm", "proj_in", "proj_out"):
        yield f"{ours}.{part}", f"{theirs}.{part}"
    config: Any = unet.config
    for index in range(config["transformer_depth"]):
        block, original = f"{ours}.blocks.{index}", f"{theirs}.transformer_blocks.{index}"
        for part, part_original in _TRANSFORMER_BLOCK.items():
            yield f"{block}.{part}", f"{original}.{part_original}"
        for layer in ("1", "2"):
            for part, part_original in _ATTENTION.items():
                yield f"{block}.attn_{layer}.{part}", f"{original}.attn{layer}.{part_original}"


def load_original_tensors(
    module: nn.Module, names: Mapping[str, str], state_dict: Mapping[str, Tensor], prefix: str
) -> None:
    """Load tensors under their released names.

    Args:
        module: gets the tensors, in float32.
        names: each of its tensor names, and the released name without the prefix.
        state_dict: released tensors; those without the prefix are ignored.
        prefix: begins the released names.

    Raises:
        ValueError: tensors that are missing, left over or of another shape, each by name.
    """
    given = {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}
    missing = sorted(set(names.values()) - set(given))
    leftover = sorted(set(given) - set(names.values()))
    own = module.state_dict()
    loaded, misfits = {}, []
    for name, original in names.items():
        if original not in given:
            continue
        tensor = given[original].to(torch.float32)
        if tensor.shape != own[name].shape:
            # 1x1 convolutions stand for linear layers, (3, 1, 1) ones for (3, 1): same numbers.
            if (
                tensor.numel() != own[name].numel()
                or tensor.squeeze().shape != own[name].squeeze().shape
            ):
                misfits.append(f"{original} {list(tensor.shape)} for {list(own[name].shape)}")
                continue
            tensor = tensor.reshape(own[name].shape)
        loaded[name] = tensor
    problems = [
        f"{title}: {', '.join(items)}"
        for title, items in (("missing", missing), ("left over", leftover), ("shape", misfits))
        if items
    ]
    if problems:
        raise ValueError(f"{type(module).__name__}: tensors do not fit: {'; '.join(problems)}")
    module.load_state_dict(loaded)


def _parts(module: nn.Module, name: str) -> list[Any]:
    return list(module.get_submodule(name).children())
