"""Spatial and temporal transformers of the video UNet."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.models.attention import Attention, KeysValues, LayerContext
from engine.models.layers import NORM_GROUPS, norm_clip, norm_frames

ENTRY_NORM_EPS = 1e-6
FEED_FORWARD_MULT = 4
_TOKENS_AT_ONCE_CPU = 2048
"""So few that a processor's cache holds the inner features of a feed-forward."""
_TOKENS_AT_ONCE = 2**15


def _tokens_at_once(device: torch.device) -> int:
    return _TOKENS_AT_ONCE_CPU if device.type == "cpu" else _TOKENS_AT_ONCE


class FeedForward(nn.Module):
    """GEGLU feed-forward: value times the exact GELU of a gate.

    Tokens do not meet here, so a long clip goes through in parts: the inner width is eight times
    the outer one, and would be the UNet's peak of memory.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        inner = dim * FEED_FORWARD_MULT
        self.proj_in = nn.Linear(dim, 2 * inner)
        self.proj_out = nn.Linear(inner, dim)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., C] -> [..., C]``"""
        parts = x.flatten(0, -2).split(_tokens_at_once(x.device))
        return torch.cat([self._gated(part) for part in parts]).view(x.shape)

    def _gated(self, tokens: Tensor) -> Tensor:
        value, gate = self.proj_in(tokens).chunk(2, dim=-1)
        return self.proj_out(value * F.gelu(gate))  # type: ignore[no-any-return]


class SpatialBlock(nn.Module):
    """Self-attention within a frame, cross-attention to text and image, feed-forward."""

    def __init__(
        self, dim: int, heads: int, head_dim: int, *, context_dim: int, image_context: bool
    ) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(dim)
        self.attn_1 = Attention(dim, heads, head_dim)
        self.norm_2 = nn.LayerNorm(dim)
        self.attn_2 = Attention(
            dim, heads, head_dim, context_dim=context_dim, image_context=image_context
        )
        self.norm_3 = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim)

    def forward(self, x: Tensor, text: KeysValues, image: KeysValues | None) -> Tensor:
        """``x [B, F, L, C]``, L = H * W tokens of a frame."""
        batch, frames = x.shape[:2]
        per_frame = self.norm_1(x).flatten(0, 1)  # [B*F, L, C]
        x = x + self.attn_1(per_frame).unflatten(0, (batch, frames))
        # Every frame asks the same text, so all frames ask in one go and nothing is repeated.
        whole_clip = self.norm_2(x).flatten(1, 2)  # [B, F*L, C]
        x = x + self.attn_2.cross(whole_clip, text, image).unflatten(1, (frames, -1))
        return x + self.feed_forward(self.norm_3(x))  # type: ignore[no-any-return]


class TemporalBlock(nn.Module):
    """Twice self-attention over the frames at one position, then feed-forward."""

    def __init__(self, dim: int, heads: int, head_dim: int, *, max_distance: int | None) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(dim)
        self.attn_1 = Attention(dim, heads, head_dim, max_distance=max_distance)
        self.norm_2 = nn.LayerNorm(dim)
        self.attn_2 = Attention(dim, heads, head_dim, max_distance=max_distance)
        self.norm_3 = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim)

    def forward(self, x: Tensor) -> Tensor:
        """``x [N, F, C]``, N = positions of all clips."""
        x = x + self.attn_1(self.norm_1(x))
        x = x + self.attn_2(self.norm_2(x))
        return x + self.feed_forward(self.norm_3(x))  # type: ignore[no-any-return]


class SpatialTransformer(nn.Module):
    """Transformer over the positions of each frame, with a residual connection around it."""

    def __init__(
        self,
        channels: int,
        heads: int,
        head_dim: int,
        *,
        depth: int,
        context_dim: int,
        image_context: bool,
    ) -> None:
        super().__init__()
        inner = heads * head_dim
        self.norm = nn.GroupNorm(NORM_GROUPS, channels, eps=ENTRY_NORM_EPS)
        self.proj_in = nn.Linear(channels, inner)
        self.blocks = nn.ModuleList(
            SpatialBlock(
                inner, heads, head_dim, context_dim=context_dim, image_context=image_context
            )
            for _ in range(depth)
        )
        self.proj_out = nn.Linear(inner, channels)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def cross_attentions(self) -> list[Attention]:
        """The layers that read the text, in the order in which ``forward`` takes their keys."""
        return [block.attn_2 for block in self.blocks]  # type: ignore[misc]

    def forward(self, x: Tensor, context: list[LayerContext]) -> Tensor:
        """``x [B, F, H, W, C]``; one entry of ``context`` a block."""
        height, width = x.shape[2:4]
        h = self.proj_in(norm_frames(self.norm, x).flatten(2, 3))  # [B, F, L, C]
        for block, (text, image) in zip(self.blocks, context, strict=True):
            h = block(h, text, image)
        return x + self.proj_out(h).unflatten(2, (height, width))  # type: ignore[no-any-return]


class TemporalTransformer(nn.Module):
    """Transformer over time at each position, with a residual connection around it.

    It never sees the text (VideoCrafter1, section 3.1; ``temporal_selfatt_only``).
    """

    def __init__(
        self, channels: int, heads: int, head_dim: int, *, depth: int, max_distance: int | None
    ) -> None:
        super().__init__()
        inner = heads * head_dim
        self.norm = nn.GroupNorm(NORM_GROUPS, channels, eps=ENTRY_NORM_EPS)
        self.proj_in = nn.Linear(channels, inner)
        self.blocks = nn.ModuleList(
            TemporalBlock(inner, heads, head_dim, max_distance=max_distance) for _ in range(depth)
        )
        self.proj_out = nn.Linear(inner, channels)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``x [B, F, H, W, C]``"""
        batch, frames, height, width, _ = x.shape
        h = norm_clip(self.norm, x).flatten(2, 3).transpose(1, 2)  # [B, L, F, C]
        # Positions do not meet here, so they too go through in parts.
        parts = h.flatten(0, 1).split(max(1, _tokens_at_once(x.device) // frames))
        h = torch.cat([self._over_time(part) for part in parts])
        h = h.unflatten(0, (batch, height, width))  # [B, H, W, F, C]
        return x + h.movedim(3, 1)  # type: ignore[no-any-return]

    def _over_time(self, positions: Tensor) -> Tensor:
        """``[N, F, C] -> [N, F, C]``"""
        h = self.proj_in(positions)
        for block in self.blocks:
            h = block(h)
        return self.proj_out(h)  # type: ignore[no-any-return]
