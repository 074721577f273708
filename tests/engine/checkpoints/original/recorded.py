"""Recorded checkpoints and what the reference makes of them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from engine.checkpoints.original.clip import restore_positions
from engine.checkpoints.original.rules import Component, check_tensors, shapes_of


@dataclass(frozen=True)
class Recorded:
    """One end-to-end run: the checkpoint, its settings, and the tensors on the way."""

    checkpoint: Path
    settings: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = self.settings["config"]
        return config

    def state(self) -> dict[str, Tensor]:
        content = torch.load(self.checkpoint, weights_only=True)
        return dict(content["state_dict"])

    def arguments(self, run: str) -> dict[str, Any]:
        """What a pipeline must be called with for this run."""
        settings = self.settings["runs"][run]
        frames, height, width = self.settings["shape"][2:]
        return {
            "prompt": self.settings["prompts"],
            "image": self.tensors.get("image_uint8"),
            "height": height * 8,
            "width": width * 8,
            "num_frames": frames,
            "num_inference_steps": settings["ddim_steps"],
            "guidance_scale": settings["cfg_scale"],
            "eta": settings["eta"],
            "fps": self.settings["fps"],
            "latents": self.tensors[f"{run}.x_T"],
            "variance_noise": self.tensors[f"{run}.noise"],
        }


def recorded(folder: Path) -> Recorded:
    return Recorded(
        checkpoint=folder / "model.ckpt",
        settings=json.loads((folder / "run.json").read_text()),
        tensors=load_file(folder / "run.safetensors"),
    )


def filled(component: Component, folder: Path) -> nn.Module:
    """A network with the recorded weights of its folder, all of which it must know."""
    weights = {k: v.float() for k, v in load_file(folder / "weights.safetensors").items()}
    check_tensors(folder.name, weights, shapes_of(component.rules))
    component.module.load_state_dict(component.tensors(weights), assign=True)
    restore_positions(component.module)
    return component.module.eval().requires_grad_(False)
