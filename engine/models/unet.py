"""The video UNet of VideoCrafter1 (arXiv 2310.19512, section 3.1 and figure 3).

One class for the published variants; the switches of :class:`VideoUNetConfig` tell them apart:

=====================  ==========  ==========  ==========  ===========
                       T2V-512 v1  T2V-1024    I2V-512     T2V-512 v2
=====================  ==========  ==========  ==========  ===========
fps_conditioning       no          yes         yes         yes
relative_position      yes         yes         no          no
temporal_convolution   no          no          yes         yes
image_cross_attention  no          no          yes         no
=====================  ==========  ==========  ==========  ===========
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders.peft import PeftAdapterMixin
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.outputs import BaseOutput
from torch import Tensor, nn

from engine.models.attention import ATTENTION_BACKENDS, Attention, AttentionBackend, LayerContext
from engine.models.embeddings import ScalarEmbedding
from engine.models.layers import (
    NORM_GROUPS,
    RESIDUAL_NORM_EPS,
    Downsample,
    ResidualBlock,
    Upsample,
    conv_frames,
    norm_frames,
)
from engine.models.original_names import (
    UNET_PREFIX,
    load_original_tensors,
    unet_config_from_original,
    unet_original_names,
)
from engine.models.transformers import SpatialTransformer, TemporalTransformer
from engine.models.unet_block import CrossAttentionCache, UNetBlock

DEFAULT_FPS = 16
"""Frame rate that the released models assume when no fps is given."""

INITIAL_ATTENTION_HEADS = 8

TEXT_TOKENS = 77


@dataclass
class VideoUNetOutput(BaseOutput):
    """``sample``: the prediction, ``[B, out_channels, F, H, W]``."""

    sample: Tensor


class VideoUNet(ModelMixin, ConfigMixin, PeftAdapterMixin):  # type: ignore[misc]
    """Denoising UNet over video latents.

    With the methods of diffusers for LoRA adapters: ``add_adapter``, ``set_adapters``, ….

    Args:
        in_channels: latent channels in.
        out_channels: latent channels out.
        model_channels: base width; a multiple of 32.
        channel_mult: width of each level over ``model_channels``; the first must be 1.
        num_res_blocks: residual blocks a level (the way up has one more).
        attention_resolutions: downsampling factors (1, 2, 4, ...) of the levels with transformers.
        num_head_channels: width of an attention head; divides the width of each such level.
        transformer_depth: blocks a transformer.
        context_dim: width of text and image tokens.
        temporal_length: frames a training clip; bounds the relative positions.
        relative_position: learned relative positions in temporal attention.
        temporal_convolution: convolutions over time in residual blocks.
        image_cross_attention: a second pair of keys and values for image tokens.
        fps_conditioning: embed the frame rate beside the timestep.
        initial_temporal_attention: a temporal transformer right after the first convolution.
        dropout: dropout in residual blocks, in training.

    Raises:
        ValueError: for a configuration that cannot be built, naming the field.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 4,
        model_channels: int = 320,
        channel_mult: Sequence[int] = (1, 2, 4, 4),
        num_res_blocks: int = 2,
        attention_resolutions: Sequence[int] = (4, 2, 1),
        num_head_channels: int = 64,
        transformer_depth: int = 1,
        context_dim: int = 1024,
        temporal_length: int = 16,
        relative_position: bool = True,
        temporal_convolution: bool = False,
        image_cross_attention: bool = False,
        fps_conditioning: bool = True,
        initial_temporal_attention: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.gradient_checkpointing = False  # switched by diffusers' enable_gradient_checkpointing
        _check_config(model_channels, channel_mult, num_head_channels)
        widths = [model_channels * mult for mult in channel_mult]
        embedding_dim = 4 * model_channels
        max_distance = temporal_length if relative_position else None

        def residual(channels_in: int, channels_out: int) -> ResidualBlock:
            return ResidualBlock(
                channels_in,
                channels_out,
                embedding_dim,
                temporal_convolution=temporal_convolution,
                dropout=dropout,
            )

        def unet_block(channels_in: int, channels_out: int, *, transformers: bool) -> UNetBlock:
            first = residual(channels_in, channels_out)
            if not transformers:
                return UNetBlock(first, None, None)
            heads = channels_out // num_head_channels
            spatial = SpatialTransformer(
                channels_out,
                heads,
                num_head_channels,
                depth=transformer_depth,
                context_dim=context_dim,
                image_context=image_cross_attention,
            )
            temporal = TemporalTransformer(
                channels_out,
                heads,
                num_head_channels,
                depth=transformer_depth,
                max_distance=max_distance,
            )
            return UNetBlock(first, spatial, temporal)

        self.time_embedding = ScalarEmbedding(model_channels, embedding_dim)
        self.fps_embedding = (
            ScalarEmbedding(model_channels, embedding_dim) if fps_conditioning else None
        )
        self.conv_in = nn.Conv2d(in_channels, model_channels, 3, padding=1)
        self.initial_temporal = (
            TemporalTransformer(
                model_channels,
                INITIAL_ATTENTION_HEADS,
                num_head_channels,
                depth=transformer_depth,
                max_distance=max_distance,
            )
            if initial_temporal_attention
            else None
        )

        self.down = nn.ModuleList()
        skip_widths = [model_channels]
        width = model_channels
        for level, level_width in enumerate(widths):
            transformers = 2**level in attention_resolutions
            for _ in range(num_res_blocks):
                self.down.append(unet_block(width, level_width, transformers=transformers))
                width = level_width
                skip_widths.append(width)
            if level < len(widths) - 1:
                self.down.append(Downsample(width))
                skip_widths.append(width)

        self.mid_in = unet_block(width, width, transformers=True)
        self.mid_out = residual(width, width)

        self.up = nn.ModuleList()
        for level, level_width in reversed(list(enumerate(widths))):
            transformers = 2**level in attention_resolutions
            for _ in range(num_res_blocks + 1):
                channels_in = width + skip_widths.pop()
                self.up.append(unet_block(channels_in, level_width, transformers=transformers))
                width = level_width
            if level > 0:
                self.up.append(Upsample(width))

        self.norm_out = nn.GroupNorm(NORM_GROUPS, width, eps=RESIDUAL_NORM_EPS)
        self.conv_out = nn.Conv2d(width, out_channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]
        # As the features lie, or every convolution would copy its weights at every call.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-arg]  # diffusers wraps it

    @classmethod
    def from_original(
        cls, state_dict: Mapping[str, Tensor], unet_config: Mapping[str, Any]
    ) -> VideoUNet:
        """Build from tensors and configuration in the layout of the released checkpoints.

        Args:
            state_dict: has the UNet's tensors under ``model.diffusion_model.``; others are ignored.
            unet_config: the ``unet_config.params`` of the released yaml files.

        Raises:
            ValueError: an option that this UNet does not have, or tensors that are missing, left
                over or of another shape, each by name.
        """
        unet = cls(**unet_config_from_original(unet_config))
        load_original_tensors(unet, unet_original_names(unet), state_dict, UNET_PREFIX)
        return unet.eval()  # type: ignore[no-any-return]

    @property
    def spatial_factor(self) -> int:
        """Latent height and width must be divisible by this, or the skips would not fit."""
        return int(2 ** (len(self.config["channel_mult"]) - 1))

    def use_attention(self, backend: AttentionBackend) -> None:
        """Choose how all attention layers compute; see :func:`engine.models.attention.attention`.

        Raises:
            ValueError: for an unknown backend, naming the known ones.
        """
        if backend not in ATTENTION_BACKENDS:
            known = ", ".join(ATTENTION_BACKENDS)
            raise ValueError(f"unknown attention backend {backend!r}; known are {known}")
        for module in self.modules():
            if isinstance(module, Attention):
                module.backend = backend

    def precompute_context(
        self, encoder_hidden_states: Tensor, image_hidden_states: Tensor | None = None
    ) -> CrossAttentionCache:
        """Compute the keys and values of text and image for all layers.

        Args:
            encoder_hidden_states: text tokens ``[B, 77, context_dim]``.
            image_hidden_states: image tokens ``[B, N, context_dim]``; without them an
                image-to-video UNet attends to the text alone.

        Raises:
            ValueError: image tokens for a UNet without image cross-attention.
        """
        if image_hidden_states is not None and not self.config["image_cross_attention"]:
            raise ValueError(
                "image_hidden_states: this UNet has no image cross-attention (text-to-video)"
            )
        layers: list[LayerContext] = []
        for attention in self._cross_attentions():
            text = attention.text_keys_values(encoder_hidden_states)
            image = (
                attention.image_keys_values(image_hidden_states)
                if image_hidden_states is not None
                else None
            )
            layers.append((text, image))
        return CrossAttentionCache(tuple(layers))

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor | None = None,
        fps: Tensor | None = None,
        image_hidden_states: Tensor | None = None,
        *,
        context: CrossAttentionCache | None = None,
        skip_temporal: bool = False,
    ) -> VideoUNetOutput:
        """Predict the noise (or velocity) of noisy latents.

        Args:
            sample: noisy latents ``[B, C, F, H, W]``; H and W divisible by ``spatial_factor``.
            timestep: ``[B]``, 0..999.
            encoder_hidden_states: text tokens ``[B, 77, D]``; or give ``context``.
            fps: frames per second ``[B]``; None means 16, as in the released models.
            image_hidden_states: image tokens ``[B, N, D]``.
            context: the result of :meth:`precompute_context`, instead of the tokens.
            skip_temporal: leave out every temporal layer, as joint training does with pictures.

        Raises:
            ValueError: for inputs whose shapes do not fit, naming the argument.
        """
        self._check_sample(sample)
        if context is None:
            if encoder_hidden_states is None:
                raise ValueError("give either encoder_hidden_states or context")
            context = self.precompute_context(encoder_hidden_states, image_hidden_states)
        layers = iter(context.layers)

        embedding = self.time_embedding(timestep)  # [B, E]
        if self.fps_embedding is not None:
            if fps is None:
                fps = torch.full_like(timestep, DEFAULT_FPS)
            embedding = embedding + self.fps_embedding(fps)

        x = sample.movedim(1, -1).contiguous()  # [B, F, H, W, C]
        x = conv_frames(self.conv_in, x)
        if self.initial_temporal is not None and not skip_temporal:
            x = self.initial_temporal(x)

        skips = [x]
        for block in self.down:
            if isinstance(block, Downsample):
                x = block(x)
            else:
                x = self._run(block, x, embedding, layers, skip_temporal)
            skips.append(x)

        x = self._run(self.mid_in, x, embedding, layers, skip_temporal)
        x = self.mid_out(x, embedding, skip_temporal=skip_temporal)

        for block in self.up:
            if isinstance(block, Upsample):
                x = block(x)
            else:
                x = torch.cat([x, skips.pop()], dim=-1)
                x = self._run(block, x, embedding, layers, skip_temporal)

        x = conv_frames(self.conv_out, F.silu(norm_frames(self.norm_out, x)))
        return VideoUNetOutput(sample=x.movedim(-1, 1).contiguous())  # [B, C, F, H, W]

    def _run(
        self,
        block: nn.Module,
        x: Tensor,
        embedding: Tensor,
        layers: Iterator[LayerContext],
        skip_temporal: bool,
    ) -> Tensor:
        assert isinstance(block, UNetBlock)
        context = list(islice(layers, block.cross_attentions))
        if not (self.gradient_checkpointing and torch.is_grad_enabled()):
            return block(x, embedding, context, skip_temporal)  # type: ignore[no-any-return]
        again: Any = self._gradient_checkpointing_func
        return again(block, x, embedding, context, skip_temporal)  # type: ignore[no-any-return]

    def _cross_attentions(self) -> list[Attention]:
        blocks = [*self.down, self.mid_in, *self.up]
        return [
            attention
            for block in blocks
            if isinstance(block, UNetBlock) and block.spatial is not None
            for attention in block.spatial.cross_attentions()
        ]

    def _check_sample(self, sample: Tensor) -> None:
        channels = self.config["in_channels"]
        if sample.ndim != 5 or sample.shape[1] != channels:
            raise ValueError(f"sample must be [B, {channels}, F, H, W], got {list(sample.shape)}")
        if any(side % self.spatial_factor for side in sample.shape[3:]):
            raise ValueError(
                f"height and width of sample must be divisible by {self.spatial_factor}, "
                f"got {list(sample.shape[3:])}"
            )


def _check_config(model_channels: int, channel_mult: Sequence[int], num_head_channels: int) -> None:
    if model_channels % NORM_GROUPS:
        raise ValueError(f"model_channels must be a multiple of {NORM_GROUPS}: {model_channels}")
    if not channel_mult or channel_mult[0] != 1:
        raise ValueError(f"channel_mult must begin with 1: {list(channel_mult)}")
    for mult in channel_mult:
        if (model_channels * mult) % num_head_channels:
            raise ValueError(
                f"num_head_channels {num_head_channels} must divide the width of every level: "
                f"{model_channels * mult}"
            )
