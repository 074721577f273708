"""Tiny models and a tiny real data set, and recipes over them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel

from tests.training.data.sets import jpeg, world_frames, write_mp4
from training.cli import main
from training.data.captions import every_word
from training.recipe.model import Recipe
from training.stages.tokenizer import make_tokenizer

WIDTH = 32
STAGE: dict[str, Any] = {
    "caption_dropout": 0.25,
    "text_lr_scale": 0.0,
    "high_noise_share": 0.0,
    "probe_clips": 2,
    "schedule": {"prediction": "epsilon", "zero_terminal_snr": False, "rescale_to": 0.3},
}
NETWORK = {"model_channels": 32, "channel_mult": (1, 2), "num_head_channels": 16}
PROJECTION = {"projection_dim": 32, "projection_depth": 1, "num_queries": 4}


class Studio:
    """A folder with models, data, and runs.

    ``models`` is laid out as Stable Diffusion is, with a vision tower beside; ``clips.csv`` names
    wide and square clips, ``pictures`` is a folder with captions in text files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models, self.table = folder / "models", folder / "clips.csv"
        self.pictures = folder / "pictures"
        torch.manual_seed(0)
        self._write_models()
        self._write_data()

    def data(self, *, size: int = 64, share: float = 0.0, **changes: Any) -> dict[str, Any]:
        """A data section; buckets of 16 pixels' steps."""
        section: dict[str, Any] = {
            "kind": "media",
            "clips": {"path": self.table},
            "pictures": {"path": self.pictures},
            "resolution": {
                "width": size,
                "height": size,
                "multiple": 16,
                "max_enlargement": 2.0,
            },
            "window": {"frames": 4, "max_stride": 3, "fps_jitter": 0.1, "cut_threshold": 0.0},
            "picture_share": share,
            "picture_batch": 4,
            "workers": 0,
        }
        return section | changes

    def recipe(self, name: str, *, stage: dict[str, Any], **plan: Any) -> Recipe:
        """A recipe of two steps of two clips."""
        own: dict[str, Any] = {
            "vae": self.models / "vae",
            "towers": self.models,
            **STAGE,
            "data": self.data(),
        }
        if stage["kind"] == "text-to-video" and "start" not in stage:
            own |= NETWORK
        steps = {"steps": 2, "batch_size": 2, "learning_rate": 1e-2, "warmup": 1}
        return Recipe.model_validate(
            {
                "name": name,
                "stage": own | stage,
                "optimisation": steps | plan,
                "bookkeeping": {"log_every": 1, "evaluate_every": 2, "samples": 1},
                "publication": {"title": f"Tiny {name}", "licence": "CC0-1.0"},
            }
        )

    def write(self, recipe: Recipe) -> Path:
        """The recipe as a file."""
        path = self.folder / f"{recipe.name}.toml"
        sections = recipe.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        path.write_text(_toml(sections), encoding="utf-8")
        return path

    def train(self, recipe: Recipe, *options: str) -> Path:
        """Run it by the command line; returns the run's folder."""
        run = self.folder / "runs" / recipe.name
        arguments = ["run", str(self.write(recipe)), "--output", str(run), "--cpu", *options]
        assert main(arguments) == 0
        return run

    def export(self, recipe: Recipe) -> Path:
        """Make a model folder of its run."""
        output = self.folder / "served" / recipe.name
        run = self.folder / "runs" / recipe.name
        arguments = ["export", str(self.write(recipe)), "--run", str(run), "--output", str(output)]
        assert main(arguments) == 0
        return output

    def _write_models(self) -> None:
        AutoencoderKL(
            block_out_channels=(16, 16, 16, 16),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            norm_num_groups=8,
            latent_channels=4,
        ).save_pretrained(self.models / "vae")
        UNet2DConditionModel(
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D",) * 2,
            up_block_types=("CrossAttnUpBlock2D",) * 2,
            attention_head_dim=(2, 4),
            cross_attention_dim=WIDTH,
            use_linear_projection=True,
        ).save_pretrained(self.models / "unet")
        tokenizer = make_tokenizer(every_word())
        tokenizer.save_pretrained(self.models / "tokenizer")
        shared = {"hidden_size": WIDTH, "intermediate_size": 64, "num_attention_heads": 2}
        CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                num_hidden_layers=2,
                eos_token_id=tokenizer.eos_token_id,
                bos_token_id=tokenizer.bos_token_id,
                pad_token_id=0,
                **shared,
            )
        ).save_pretrained(self.models / "text_encoder")
        CLIPVisionModel(
            CLIPVisionConfig(image_size=32, patch_size=8, num_hidden_layers=1, **shared)
        ).save_pretrained(self.models / "image_encoder")

    def _write_data(self) -> None:
        with self.table.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["path", "caption"])
            for number in range(8):
                width = 128 if number % 2 else 64
                frames = world_frames(12, width=width, seed=number)
                write_mp4(self.folder / f"{number}.mp4", frames)
                rows.writerow([f"{number}.mp4", f"a red circle moves, take {number}"])
        self.pictures.mkdir()
        for number in range(6):
            width = 96 if number % 2 else 64
            (self.pictures / f"{number}.jpg").write_bytes(jpeg(width, 64, level=40 * number))
            (self.pictures / f"{number}.txt").write_text(f"picture {number}")


def _toml(tree: dict[str, Any], prefix: str = "") -> str:
    plain = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    lines = [f"{key} = {_value(value)}" for key, value in plain.items()]
    for key, value in tree.items():
        if isinstance(value, dict):
            lines += [f"[{prefix}{key}]", _toml(value, f"{prefix}{key}.")]
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    return f'"{value}"' if isinstance(value, str) else repr(value)
