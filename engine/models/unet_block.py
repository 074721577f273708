"""A block of the UNet, and the keys and values of text and image that the blocks read."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from engine.models.attention import LayerContext
from engine.models.layers import ResidualBlock
from engine.models.transformers import SpatialTransformer, TemporalTransformer


class CrossAttentionCache(NamedTuple):
    """Keys and values of every cross-attention layer for one batch of clips.

    They depend on the prompt and the picture only, so one sampling run computes them once.
    """

    layers: tuple[LayerContext, ...]


class UNetBlock(nn.Module):
    """Residual block, then the two transformers where the level has them."""

    def __init__(
        self,
        residual: ResidualBlock,
        spatial: SpatialTransformer | None,
        temporal: TemporalTransformer | None,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.spatial = spatial
        self.temporal = temporal

    @property
    def cross_attentions(self) -> int:
        """Number of entries of the context that a forward reads."""
        return len(self.spatial.blocks) if self.spatial is not None else 0

    def forward(
        self,
        x: Tensor,
        embedding: Tensor,
        context: list[LayerContext],
        skip_temporal: bool,
    ) -> Tensor:
        """``x [B, F, H, W, C]``, ``embedding [B, E]``, one entry of ``context`` a spatial block."""
        x = self.residual(x, embedding, skip_temporal=skip_temporal)
        if self.spatial is not None:
            x = self.spatial(x, context)
        if self.temporal is not None and not skip_temporal:
            x = self.temporal(x)
        return x
