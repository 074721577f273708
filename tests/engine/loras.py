"""LoRAs with random numbers for the tiny models."""

import json
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.checkpoints.folder.lora import LORA_METADATA, LORA_WEIGHTS
from engine.checkpoints.loading.load import load_unet
from engine.models import VideoUNet

LAYERS = ["to_q", "to_k", "to_v", "to_out", "to_k_image", "to_v_image"]


def write_lora(
    folder: Path, model: Path, *, seed: int = 0, scale: float = 0.1, facts: bool = True
) -> Path:
    """A LoRA of rank 2, alpha 4, for all attention layers; ``scale`` 0 is one not yet trained."""
    unet = load_unet(model / "unet", torch.float32)
    torch.manual_seed(seed)
    unet.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=LAYERS))
    for name, weight in unet.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=scale)
    unet.save_lora_adapter(folder)
    if facts:
        stated = {"title": "Something else", "base": model.name, "licence": "CC-BY-4.0"}
        (folder / LORA_METADATA).write_text(json.dumps(stated))
    return folder


def change(folder: Path, **tensors: Tensor | None) -> None:
    """Replace the tensors of a LoRA whose names begin so (double underscores are dots)."""
    file = folder / LORA_WEIGHTS
    held = load_file(file)
    for start, tensor in tensors.items():
        name = next(name for name in held if name.startswith(start.replace("__", ".")))
        del held[name]
        if tensor is not None:
            held[name] = tensor
    save_file(held, file)


def predict(unet: VideoUNet) -> Tensor:
    """What a UNet of a tiny model makes of fixed inputs."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    image = draw(1, 4, 16) if unet.config["image_cross_attention"] else None
    with torch.no_grad():
        sample = unet(
            draw(1, 4, 4, 8, 8),
            torch.tensor([600]),
            draw(1, 77, 16),
            fps=torch.tensor([8.0]),
            image_hidden_states=image,
        ).sample
    assert isinstance(sample, Tensor)
    return sample
