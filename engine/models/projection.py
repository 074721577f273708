"""The projection net of image-to-video: image tokens to tokens in the text's space.

VideoCrafter1, section 3.2: learned queries attend to *all* patch tokens of the image encoder
(a Perceiver resampler), which keeps detail that one global token would lose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from engine.models.attention import attention
from engine.models.original_names import (
    PROJECTION_PREFIX,
    load_original_tensors,
    projection_original_names,
)


class _PerceiverAttention(nn.Module):
    """Latents attend to image tokens and to themselves."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.norm_image = nn.LayerNorm(dim)
        self.norm_latents = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)

    def forward(self, image: Tensor, latents: Tensor) -> Tensor:
        """``image [B, K, C]``, ``latents [B, N, C]`` -> ``[B, N, C]``"""
        latents = self.norm_latents(latents)
        both = torch.cat([self.norm_image(image), latents], dim=1)  # [B, K+N, C]
        key, value = self.to_kv(both).chunk(2, dim=-1)
        out = attention(self._heads(self.to_q(latents)), self._heads(key), self._heads(value))
        return self.to_out(out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _heads(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)  # [B, heads, L, d]


class _FeedForward(nn.Module):
    def __init__(self, dim: int, mult: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.proj_in = nn.Linear(dim, dim * mult, bias=False)
        self.proj_out = nn.Linear(dim * mult, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj_out(F.gelu(self.proj_in(self.norm(x))))  # type: ignore[no-any-return]


class _Layer(nn.Module):
    def __init__(self, dim: int, heads: int, head_dim: int, ff_mult: int) -> None:
        super().__init__()
        self.attention = _PerceiverAttention(dim, heads, head_dim)
        self.feed_forward = _FeedForward(dim, ff_mult)

    def forward(self, image: Tensor, latents: Tensor) -> Tensor:
        latents = latents + self.attention(image, latents)
        return latents + self.feed_forward(latents)  # type: ignore[no-any-return]


class ImageProjection(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Learned queries that read image tokens.

    Args:
        dim: inner width.
        depth: layers.
        dim_head: width of an attention head.
        heads: attention heads; ``heads * dim_head`` may differ from ``dim``.
        num_queries: image tokens out.
        embedding_dim: width of the image encoder's tokens.
        output_dim: width of the text tokens.
        ff_mult: inner width of the feed-forward over ``dim``.
    """

    @register_to_config
    def __init__(
        self,
        dim: int = 1024,
        depth: int = 4,
        dim_head: int = 64,
        heads: int = 12,
        num_queries: int = 16,
        embedding_dim: int = 1280,
        output_dim: int = 1024,
        ff_mult: int = 4,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.latents = nn.Parameter(torch.randn(1, num_queries, dim) / dim**0.5)
        self.proj_in = nn.Linear(embedding_dim, dim)
        self.layers = nn.ModuleList(_Layer(dim, heads, dim_head, ff_mult) for _ in range(depth))
        self.proj_out = nn.Linear(dim, output_dim)
        self.norm_out = nn.LayerNorm(output_dim)

    @classmethod
    def from_original(
        cls, state_dict: Mapping[str, Tensor], params: Mapping[str, Any]
    ) -> ImageProjection:
        """Build from the tensors of a released checkpoint (prefix ``image_proj_model.``).

        Raises:
            ValueError: tensors that are missing, left over or of another shape, each by name.
        """
        projection = cls(**params)
        names = projection_original_names(projection)
        load_original_tensors(projection, names, state_dict, PROJECTION_PREFIX)
        return projection.eval()  # type: ignore[no-any-return]

    def forward(self, image_tokens: Tensor) -> Tensor:
        """``[B, K, embedding_dim] -> [B, num_queries, output_dim]``"""
        latents = self.latents.expand(len(image_tokens), -1, -1)
        image = self.proj_in(image_tokens)
        for layer in self.layers:
            latents = layer(image, latents)
        return self.norm_out(self.proj_out(latents))  # type: ignore[no-any-return]
