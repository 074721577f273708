"""LoRAs are loaded into a UNet by peft: added for good, or beside the weights as an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.lora import Lora, LoraSource, read_lora
from engine.models import VideoUNet


def fuse_loras(unet: VideoUNet, loras: Sequence[LoraSource], *, model: str) -> None:
    """Add LoRAs to the weights of a UNet; nothing of peft is left in it, and nothing gets slower.

    Args:
        unet: is changed.
        loras: what to add; their updates sum up.
        model: the model's name, for messages.

    Raises:
        ModelLoadError: a LoRA cannot be read, does not fit, or holds numbers that are none.
    """
    for source in loras:
        _attach(unet, read_lora(source.path), "fused", model)
        unet.set_adapters("fused", source.weight)
        unet.fuse_lora()  # type: ignore[no-untyped-call]
        unet.unload_lora()  # type: ignore[no-untyped-call]
    unet.eval().requires_grad_(False)


def load_lora(
    unet: VideoUNet,
    path: Path,
    *,
    name: str = "default",
    weight: float = 1.0,
    model: str | None = None,
) -> None:
    """Put a LoRA beside the weights of a UNet, where it can be weighted anew and taken out.

    For programs; afterwards ``unet.set_adapters``, ``unet.disable_lora``, ``unet.delete_adapters``
    and ``unet.fuse_lora`` of diffusers work. Each call costs some time then, unlike `fuse_loras`.

    Args:
        unet: gets the adapter; those it has stay, at their weights.
        path: a LoRA file or folder.
        name: of the adapter.
        weight: 0 nothing, 1 as trained.
        model: the model's name; given, a LoRA that was made for another one is refused.

    Raises:
        ModelLoadError: as `fuse_loras`.
        ValueError: the name is taken, or the weight is outside its range.
    """
    LoraSource(path, weight)  # refuses the weight
    config: dict[str, Any] = getattr(unet, "peft_config", {})
    if name in config:
        raise ValueError(f"the UNet has an adapter {name!r} already")
    weights = _active_weights(unet)
    lora = read_lora(path)
    if model is not None:
        lora.check_base(model, revision="")
    _attach(unet, lora, name, model or "of this UNet")
    unet.set_adapters([*weights, name], [*weights.values(), weight])


def _attach(unet: VideoUNet, lora: Lora, name: str, model: str) -> None:
    shapes = {key: tuple(tensor.shape) for key, tensor in _plain_state(unet).items()}
    lora.check_shapes(model, shapes)
    tensors = _tensors(lora)
    # What the file's metadata says goes no further than `read_lora` has checked it.
    settings = {
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "use_rslora": lora.rslora,
        "target_modules": sorted(lora.layers),
    }
    unet.load_lora_adapter(tensors, prefix=None, adapter_name=name, metadata=settings)


def _tensors(lora: Lora) -> dict[str, Tensor]:
    """The tensors by their layers' names, all finite."""
    tensors = load_file(lora.file)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ModelLoadError(f"{lora.file}: {name} holds values that are no numbers.")
    return {name.removeprefix("unet."): tensor for name, tensor in tensors.items()}


def _plain_state(unet: VideoUNet) -> dict[str, Tensor]:
    """The UNet's weights by the names they have without adapters."""
    state: dict[str, Tensor] = unet.state_dict()
    return {key.replace(".base_layer.", "."): tensor for key, tensor in state.items()}


def _active_weights(unet: VideoUNet) -> dict[str, float]:
    """Active adapters and their weights."""
    from peft.tuners.lora import LoraLayer

    weights: dict[str, float] = {}
    for module in unet.modules():
        if isinstance(module, LoraLayer):
            for name in module.active_adapters:
                initial = module.lora_alpha[name] / module.r[name]
                if module.use_rslora[name]:
                    initial = module.lora_alpha[name] / module.r[name] ** 0.5
                weights[name] = module.scaling[name] / initial
    return weights
