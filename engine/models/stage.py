"""One step of the UNet, and the keys and values of text and image that its steps read."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from engine.models.attention import KeysValues
from engine.models.layers import ResidualBlock
from engine.models.transformers import SpatialTransformer, TemporalTransformer


class VideoContext(NamedTuple):
    """Keys and values of every cross-attention layer for one batch of clips.

    They depend on the prompt and the picture only, so one sampling run computes them once.
    """

    layers: tuple[tuple[KeysValues, KeysValues | None], ...]


class ContextReader:
    """Hands out the entries of a :class:`VideoContext` in the order of the layers."""

    def __init__(self, context: VideoContext) -> None:
        self._layers = context.layers
        self._next = 0

    def take(self, count: int) -> list[tuple[KeysValues, KeysValues | None]]:
        self._next += count
        return list(self._layers[self._next - count : self._next])


class Stage(nn.Module):
    """One step of the UNet: residual block, then the two transformers where the level has them."""

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
        """How many entries of the context a forward reads."""
        return len(self.spatial.blocks) if self.spatial is not None else 0

    def forward(
        self,
        x: Tensor,
        embedding: Tensor,
        context: list[tuple[KeysValues, KeysValues | None]],
        skip_temporal: bool,
    ) -> Tensor:
        """``x [B, F, H, W, C]``, ``embedding [B, E]``, one entry of ``context`` a spatial block."""
        x = self.residual(x, embedding, skip_temporal=skip_temporal)
        if self.spatial is not None:
            x = self.spatial(x, context)
        if self.temporal is not None and not skip_temporal:
            x = self.temporal(x)
        return x
