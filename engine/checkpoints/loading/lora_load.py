"""LoRAs are loaded into a UNet by peft: added for good, or beside the weights as an adapter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from common.text import printable
from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.folder.lora import Lora, LoraSource, check_values, read_lora
from engine.checkpoints.loading.building import BUILDING
from engine.models import VideoUNet

_ADAPTER_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FLOAT8: Final = (torch.float8_e4m3fn, torch.float8_e5m2)


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
        lora = read_lora(source.path)
        _attach(unet, lora, "fused", model)
        unet.set_adapters("fused", source.weight)
        unet.fuse_lora()  # type: ignore[no-untyped-call]
        unet.unload_lora()  # type: ignore[no-untyped-call]
        check_finite(unet, lora.layers, f"{model} with {lora.file}")
    unet.eval().requires_grad_(False)


def check_finite(unet: VideoUNet, layers: Iterable[str], what: str) -> None:
    """Raise if the weights of a layer are not all finite.

    Args:
        unet: without adapters.
        layers: names of the layers.
        what: for the message.

    Raises:
        ModelLoadError: names the first such layer and the number format.
    """
    state: dict[str, Tensor] = unet.state_dict()
    for layer in layers:
        weight = state[f"{layer}.weight"]
        if not torch.isfinite(weight).all():
            kind = str(weight.dtype).removeprefix("torch.")
            raise ModelLoadError(f"{what}: the weights of {layer} leave the range of {kind}.")


def load_lora(
    unet: VideoUNet,
    path: Path,
    *,
    name: str = "default",
    weight: float = 1.0,
    model: str | None = None,
) -> None:
    """Add a LoRA to a UNet as an adapter, whose weight can be changed and which can be removed.

    For programs; afterwards `unet.set_adapters`, `unet.disable_lora`, `unet.delete_adapters`
    and `unet.fuse_lora` of diffusers work. Each call costs some time then, unlike `fuse_loras`.

    Args:
        unet: gets the adapter; those it has stay, at their weights.
        path: a LoRA file or folder.
        name: of the adapter.
        weight: 0 nothing, 1 as trained.
        model: the model's name; given, a LoRA that was made for another one is refused.

    Raises:
        ModelLoadError: as `fuse_loras`.
        ValueError: the name is taken or none that an adapter can have, or the weight is outside
            its range.
    """
    LoraSource(path, weight)  # refuses the weight
    # It becomes a key of torch's ModuleDict, which has attributes of its own.
    taken = (torch.nn.ModuleDict(), torch.nn.ParameterDict(), unet)
    if not _ADAPTER_NAME.fullmatch(str(name)) or any(hasattr(one, str(name)) for one in taken):
        raise ValueError(
            f"name: {name!r} cannot be an adapter's name; take 1 to 64 letters, digits, hyphens "
            "and underscores"
        )
    config: dict[str, Any] = getattr(unet, "peft_config", {})
    if name in config:
        raise ValueError(f"the UNet has an adapter {name!r} already")
    weights = _active_weights(unet)
    lora = read_lora(path)
    if model is not None:
        lora.check_base(model)
    _attach(unet, lora, name, model or "of this UNet")
    unet.set_adapters([*weights, name], [*weights.values(), weight])


def _attach(unet: VideoUNet, lora: Lora, name: str, model: str) -> None:
    shapes = {key: tuple(tensor.shape) for key, tensor in _plain_state(unet).items()}
    lora.check_shapes(model, shapes)
    check_values(lora)
    tensors = _tensors(lora)
    # What the file's metadata says goes no further than `read_lora` has checked it.
    settings = {
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "use_rslora": lora.rslora,
        "target_modules": sorted(lora.layers),
    }
    with BUILDING:
        unet.load_lora_adapter(tensors, prefix=None, adapter_name=name, metadata=settings)


def _tensors(lora: Lora) -> dict[str, Tensor]:
    """The tensors by their layers' names; those of eight bits in float32."""
    try:
        tensors = load_file(lora.file)
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelLoadError(
            f"{lora.file} cannot be read: {printable(str(error), 200)}."
        ) from error
    return {
        name.removeprefix("unet."): tensor.float() if tensor.dtype in _FLOAT8 else tensor
        for name, tensor in tensors.items()
    }


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
                weights[name] = module.scaling[name] / initial if initial else 1.0
    return weights
