"""Layers on video features.

Features travel as `[B, F, H, W, C]`, contiguous. That is the channels-last memory of a batch
of pictures, so convolutions, per-token layers and both attentions read it without a copy.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_GROUPS = 32
RESIDUAL_NORM_EPS = 1e-5
TEMPORAL_DROPOUT = 0.1


_FEW_POSITIONS = 512
"""A CPU's convolution of so few positions is slower than one matrix product."""


def conv_frames(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a 2-D convolution to every frame: `[B, F, H, W, C] -> [B, F, H', W', C']`."""
    batch, frames = x.shape[:2]
    if _is_small_3x3(conv, x):
        return torch.unflatten(_conv_as_product(conv, x.flatten(0, 1)), 0, (batch, frames))
    y = conv(x.flatten(0, 1).permute(0, 3, 1, 2))  # [B*F, C', H', W'], channels last
    return torch.unflatten(y.permute(0, 2, 3, 1), 0, (batch, frames)).contiguous()


def _is_small_3x3(conv: nn.Conv2d, x: Tensor) -> bool:
    same_size = conv.kernel_size == (3, 3) and conv.stride == (1, 1)
    return x.device.type == "cpu" and same_size and x[..., 0].numel() <= _FEW_POSITIONS


def _conv_as_product(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A 3x3 convolution of padding 1 over gathered neighbourhoods, `[N, H, W, C]` to `C'`."""
    count, height, width, channels = x.shape
    padded = F.pad(x, (0, 0, 1, 1, 1, 1))  # [N, H+2, W+2, C]
    rows = padded.unfold(1, 3, 1).unfold(2, 3, 1)  # [N, H, W, C, 3, 3]
    rows = rows.permute(0, 1, 2, 4, 5, 3).reshape(count, height, width, 9 * channels)
    weight = conv.weight.permute(0, 2, 3, 1).reshape(-1, 9 * channels)
    return F.linear(rows, weight, conv.bias)


def conv_time(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a (3, 1) convolution over (frame, position): `[B, F, H, W, C]` keeps its shape."""
    height, width = x.shape[2:4]
    y = conv(x.flatten(2, 3).permute(0, 3, 1, 2))  # [B, C', F, H*W], channels last
    return torch.unflatten(y.permute(0, 2, 3, 1), 2, (height, width)).contiguous()


def norm_frames(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """Group normalisation with statistics of one frame each."""
    batch, frames = x.shape[:2]
    y = _group_norm(norm, x.flatten(0, 1).permute(0, 3, 1, 2))
    return torch.unflatten(y.permute(0, 2, 3, 1), 0, (batch, frames))


def norm_clip(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """Group normalisation with statistics over all frames of a clip."""
    height, width = x.shape[2:4]
    y = _group_norm(norm, x.flatten(2, 3).permute(0, 3, 1, 2))
    return torch.unflatten(y.permute(0, 2, 3, 1), 2, (height, width))


def _group_norm(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    return F.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps)


class TemporalConvolution(nn.Module):
    """Four convolutions over time with a residual connection (I2V and VideoCrafter2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(
            nn.GroupNorm(NORM_GROUPS, channels, eps=RESIDUAL_NORM_EPS) for _ in range(4)
        )
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, (3, 1), padding=(1, 0)) for _ in range(4)
        )
        # Training starts from the image model: the branch is silent until it has learnt something.
        nn.init.zeros_(self.convs[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.convs[-1].bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """`[B, F, H, W, C] -> [B, F, H, W, C]`"""
        h = x
        for index, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True)):
            h = F.silu(norm_clip(norm, h))  # type: ignore[arg-type]
            if index > 0:
                h = F.dropout(h, TEMPORAL_DROPOUT, self.training)
            h = conv_time(conv, h)  # type: ignore[arg-type]
        return x + h


class ResidualBlock(nn.Module):
    """Two convolutions per frame, conditioned on timestep and fps; then the temporal ones."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding_dim: int,
        *,
        temporal_convolution: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.norm_1 = nn.GroupNorm(NORM_GROUPS, in_channels, eps=RESIDUAL_NORM_EPS)
        self.conv_1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.embedding = nn.Linear(embedding_dim, out_channels)
        self.norm_2 = nn.GroupNorm(NORM_GROUPS, out_channels, eps=RESIDUAL_NORM_EPS)
        self.dropout = nn.Dropout(dropout)
        self.conv_2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = (
            nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None
        )
        self.temporal = TemporalConvolution(out_channels) if temporal_convolution else None
        nn.init.zeros_(self.conv_2.weight)
        nn.init.zeros_(self.conv_2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, embedding: Tensor, *, skip_temporal: bool) -> Tensor:
        """`x [B, F, H, W, C]`, `embedding [B, E]` -> `[B, F, H, W, C']`"""
        h = conv_frames(self.conv_1, F.silu(norm_frames(self.norm_1, x)))
        h = h + self.embedding(F.silu(embedding))[:, None, None, None, :]
        h = conv_frames(self.conv_2, self.dropout(F.silu(norm_frames(self.norm_2, h))))
        h = h + (x if self.shortcut is None else conv_frames(self.shortcut, x))
        if self.temporal is not None and not skip_temporal:
            h = self.temporal(h)
        return h


class Downsample(nn.Module):
    """Halve height and width of every frame by a strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return conv_frames(self.conv, x)


class Upsample(nn.Module):
    """Double height and width of every frame: nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        return conv_frames(self.conv, x)
