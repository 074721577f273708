"""Tiny models with random weights, in the layout of real ones."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
)

from engine.models import ImageProjection, VideoUNet
from engine.pipelines import ImageToVideoPipeline, TextToVideoPipeline
from engine.schedulers import make_scheduler

TEXT_WIDTH = 16
VISION_WIDTH = 16


def tiny_tokenizer() -> CLIPTokenizer:
    """Letters and nothing else; ids stay below the text encoder's vocabulary of 128."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["!", *letters, *(f"{letter}</w>" for letter in letters)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: index for index, word in enumerate(words)}, merges=[])


def tiny_components(*, with_image: bool) -> dict[str, Any]:
    torch.manual_seed(0)
    unet = VideoUNet(
        model_channels=32,
        channel_mult=(1, 2),
        num_res_blocks=1,
        attention_resolutions=(1,),
        num_head_channels=8,
        context_dim=TEXT_WIDTH,
        temporal_length=4,
        image_cross_attention=with_image,
    )
    for weight in unet.parameters():
        # Several layers begin as zeros, with which nothing would depend on prompt and picture.
        if weight.ndim > 1 and not weight.any():
            torch.nn.init.normal_(weight, std=0.2)
    components: dict[str, Any] = {
        "unet": unet,
        "vae": AutoencoderKL(
            block_out_channels=(8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            latent_channels=4,
            norm_num_groups=4,
        ),
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=128,
                hidden_size=TEXT_WIDTH,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                bos_token_id=53,
                eos_token_id=54,
            )
        ),
        "tokenizer": tiny_tokenizer(),
        "scheduler": make_scheduler("dpm++2m"),
    }
    if with_image:
        components["image_encoder"] = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=VISION_WIDTH,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=32,
                patch_size=8,
            )
        )
        components["image_projection"] = ImageProjection(
            dim=16,
            depth=1,
            dim_head=8,
            heads=2,
            num_queries=4,
            embedding_dim=VISION_WIDTH,
            output_dim=TEXT_WIDTH,
        )
    return components


def write_tiny_model(folder: Path, *, with_image: bool) -> Path:
    kind = ImageToVideoPipeline if with_image else TextToVideoPipeline
    pipeline = kind(**tiny_components(with_image=with_image), text_layer="penultimate")
    pipeline.save_pretrained(folder)
    facts = {
        "name": folder.name,
        "title": "A tiny model",
        "task": "image-to-video" if with_image else "text-to-video",
        "width": 32,
        "height": 32,
        "sizes": [[48, 32]],
        "num_frames": 4,
        "fps": [4, 8, 24],
        "default_fps": 8,
        "default_steps": 3,
        "max_steps": 60,
        "default_guidance": 3.0,
        "scheduler": "dpm++2m",
        "licence": "CC0-1.0",
    }
    (folder / "floor33.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture(scope="session")
def tiny_t2v(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text-to-video folder; shared, so tests that damage it take a copy."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny-t2v", with_image=False)


@pytest.fixture(scope="session")
def tiny_i2v(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image-to-video folder; shared, so tests that damage it take a copy."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny-i2v", with_image=True)
