"""Small real parts of pipelines, with random weights."""

from typing import Any

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
from engine.schedulers import make_scheduler

WIDTH = 16
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?&'-"
START, END = "<|startoftext|>", "<|endoftext|>"


def make_tokenizer() -> CLIPTokenizer:
    symbols = [*LETTERS, *(letter + "</w>" for letter in LETTERS)]
    merges = [("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g</w>")]
    merged = [left + right for left, right in merges]
    # As in CLIP, id 0 is an ordinary token and the two special ones come last.
    vocabulary = {symbol: index for index, symbol in enumerate([*symbols, *merged, START, END])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges)


def randomise(module: torch.nn.Module, seed: int) -> Any:
    """Random weights everywhere: zero-initialised layers would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        centre = 1.0 if parameter.ndim == 1 and "norm" in name and name.endswith("weight") else 0.0
        scale = fan_in**-0.5 if parameter.ndim > 1 else 0.1
        parameter.data.copy_(centre + scale * noise)
    return module.eval().requires_grad_(False)


def make_components(*, image: bool) -> dict[str, Any]:
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.2,
    )
    tokenizer = make_tokenizer()
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    unet = VideoUNet(
        model_channels=32,
        channel_mult=(1, 2),
        num_res_blocks=1,
        attention_resolutions=(1,),
        num_head_channels=8,
        context_dim=WIDTH,
        temporal_length=4,
        image_cross_attention=image,
    )
    components: dict[str, Any] = {
        "vae": randomise(vae, 1),
        "text_encoder": randomise(text_encoder, 2),
        "tokenizer": tokenizer,
        "unet": randomise(unet, 3),
        "scheduler": make_scheduler("ddim-original", 0.7),
    }
    if image:
        image_encoder = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=28,
                patch_size=14,
            )
        )
        projection = ImageProjection(
            dim=16, depth=2, dim_head=8, heads=2, num_queries=4, embedding_dim=16, output_dim=WIDTH
        )
        components["image_encoder"] = randomise(image_encoder, 4)
        components["image_projection"] = randomise(projection, 5)
    return components
