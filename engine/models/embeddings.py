"""Embeddings of the two scalars that condition the UNet: noise level and frame rate."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sinusoidal_embedding(values: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Embed scalars `[B]` as `[B, dim]`, cosines first (the order of the released weights)."""
    half = dim // 2
    exponent = torch.arange(half, dtype=torch.float32, device=values.device) / half
    frequencies = torch.exp(-math.log(max_period) * exponent)  # [half]
    angles = values.float()[:, None] * frequencies[None, :]  # [B, half]
    embedding = torch.cat([angles.cos(), angles.sin()], dim=-1)
    return nn.functional.pad(embedding, (0, dim % 2))


class ScalarEmbedding(nn.Module):
    """Sinusoid and two-layer perceptron: the timestep embedder, and the fps embedder alike.

    VideoCrafter1, section 3.1: the fps embedder has the structure of the timestep embedder and
    the two are summed element by element.
    """

    def __init__(self, sinusoid_dim: int, dim: int) -> None:
        super().__init__()
        self.sinusoid_dim = sinusoid_dim
        self.linear_1 = nn.Linear(sinusoid_dim, dim)
        self.linear_2 = nn.Linear(dim, dim)

    def forward(self, values: Tensor) -> Tensor:
        """`[B] -> [B, dim]`"""
        sinusoid = sinusoidal_embedding(values, self.sinusoid_dim).to(self.linear_1.weight.dtype)
        return self.linear_2(nn.functional.silu(self.linear_1(sinusoid)))  # type: ignore[no-any-return]
