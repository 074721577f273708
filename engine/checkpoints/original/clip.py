"""The text and vision towers: names of OpenCLIP to those of transformers' CLIP models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel

from engine.checkpoints.original.config import TextConditioner, TextTowerConfig, VisionTowerConfig
from engine.checkpoints.original.rules import Component, Rule, Shape

TEXT_PREFIX: Final = "cond_stage_model.model."
IMAGE_PREFIX: Final = "embedder.model."

_MLP_RATIO: Final = 4
_TEXT_NAMES: Final = {
    "positional_embedding": "embeddings.position_embedding.weight",
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
_VISION_NAMES: Final = {
    "class_embedding": "embeddings.class_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "ln_pre.weight": "pre_layrnorm.weight",
    "ln_pre.bias": "pre_layrnorm.bias",
    "ln_post.weight": "post_layernorm.weight",
    "ln_post.bias": "post_layernorm.bias",
}
_BLOCK_NAMES: Final = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def text_tower(config: TextConditioner) -> Component:
    """The text encoder, all of its blocks: that the last is not read is the pipeline's affair."""
    tower = config.text_cfg
    with torch.device("meta"):
        model = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=tower.vocab_size,
                hidden_size=tower.width,
                intermediate_size=tower.width * _MLP_RATIO,
                projection_dim=config.embed_dim,
                num_hidden_layers=tower.layers,
                num_attention_heads=tower.heads,
                max_position_embeddings=tower.context_length,
                hidden_act="gelu",
                pad_token_id=0,
                # CLIP's two special tokens are the last of its vocabulary.
                bos_token_id=tower.vocab_size - 2,
                eos_token_id=tower.vocab_size - 1,
            )
        )
    rules = [
        *_renamed(model, TEXT_PREFIX, _TEXT_NAMES),
        *_blocks(model, TEXT_PREFIX, tower.layers),
        Rule(f"{TEXT_PREFIX}text_projection", (tower.width, config.embed_dim)),
        Rule(f"{TEXT_PREFIX}logit_scale", ()),
    ]
    return Component(model, tuple(rules))


def vision_tower(
    config: VisionTowerConfig, embed_dim: int, leftover: TextTowerConfig | None
) -> Component:
    """The image encoder.

    Args:
        config: its architecture.
        embed_dim: width of CLIP's common space, which the file knows and the model does not use.
        leftover: the text tower whose remains lie beside it in the file; None for no such remains.
    """
    with torch.device("meta"):
        model = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=config.width,
                intermediate_size=config.width * _MLP_RATIO,
                projection_dim=embed_dim,
                num_hidden_layers=config.layers,
                num_attention_heads=config.width // config.head_width,
                image_size=config.image_size,
                patch_size=config.patch_size,
                hidden_act="gelu",
            )
        )
    prefix = f"{IMAGE_PREFIX}visual."
    rules = [
        *_renamed(model, prefix, _VISION_NAMES),
        *_blocks(model, prefix, config.layers),
        Rule(f"{prefix}proj", (config.width, embed_dim)),
    ]
    if leftover is not None:
        unused: dict[str, Shape] = {
            "positional_embedding": (leftover.context_length, leftover.width),
            "text_projection": (leftover.width, embed_dim),
            "logit_scale": (),
            "token_embedding.weight": (leftover.vocab_size, leftover.width),
            "ln_final.weight": (leftover.width,),
            "ln_final.bias": (leftover.width,),
        }
        rules += [Rule(IMAGE_PREFIX + name, shape) for name, shape in unused.items()]
    return Component(model, tuple(rules))


def restore_positions(model: nn.Module) -> None:
    """Give a CLIP model that was built on the meta device the index buffer no file holds."""
    for module in model.modules():
        embedding = getattr(module, "position_embedding", None)
        if isinstance(embedding, nn.Embedding):
            module.position_ids = torch.arange(embedding.num_embeddings).expand((1, -1))


def _renamed(model: nn.Module, prefix: str, names: Mapping[str, str]) -> Iterator[Rule]:
    own = model.state_dict()
    for released, name in names.items():
        yield Rule(prefix + released, tuple(own[name].shape), (name,))


def _blocks(model: nn.Module, prefix: str, layers: int) -> Iterator[Rule]:
    own = model.state_dict()
    for index in range(layers):
        theirs, ours = f"{prefix}transformer.resblocks.{index}.", f"encoder.layers.{index}."
        for kind in ("weight", "bias"):
            for released, name in _BLOCK_NAMES.items():
                target = f"{ours}{name}.{kind}"
                yield Rule(f"{theirs}{released}.{kind}", tuple(own[target].shape), (target,))
            targets = tuple(f"{ours}self_attn.{part}_proj.{kind}" for part in "qkv")
            rows, *rest = own[targets[0]].shape
            yield Rule(f"{theirs}attn.in_proj_{kind}", (3 * rows, *rest), targets)
