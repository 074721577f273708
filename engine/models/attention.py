"""The one attention function of the project, and the layer around it."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

AttentionBackend = Literal["sdpa", "math", "sliced"]
ATTENTION_BACKENDS: tuple[AttentionBackend, ...] = get_args(AttentionBackend)

_SLICE_SCORES = 2**24
"""Most attention scores that the "sliced" backend holds at once (64 MiB in float32)."""


class KeysValues(NamedTuple):
    """Keys and values of one attention layer, ``[B, heads, L, head_dim]`` each."""

    key: Tensor
    value: Tensor


LayerContext = tuple[KeysValues, KeysValues | None]
"""Keys and values of the text and of the image, if there is one, for one cross-attention layer."""


class RelativePositions(NamedTuple):
    """Relative position vectors for every pair of frames, ``[Q, K, head_dim]`` each."""

    key: Tensor
    value: Tensor


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    backend: AttentionBackend = "sdpa",
    relative: RelativePositions | None = None,
) -> Tensor:
    """Scaled dot-product attention, ``softmax(q k^T / sqrt(d)) v``.

    Args:
        query: ``[..., Q, d]``; the leading dimensions are shared by all three.
        key: ``[..., K, d]``.
        value: ``[..., K, d]``.
        backend: "sdpa" calls the fused kernel of torch, "math" writes the formula out,
            "sliced" does the same for a few queries at a time, to bound memory. They agree
            to rounding.
        relative: relative positions (Shaw et al. 2018) added to keys *and* values:
            ``softmax(q (k + R_k)^T / sqrt(d)) (v + R_v)``. No fused kernel offers the value
            side, so "sdpa" then means "math".

    Returns:
        ``[..., Q, d]``
    """
    if relative is not None:
        return _relative_attention(query, key, value, relative)
    if backend == "sdpa":
        return F.scaled_dot_product_attention(query, key, value)
    if backend == "math":
        return _softmax_attention(query, key, value)
    if backend == "sliced":
        scores_per_query = math.prod(query.shape[:-2]) * key.shape[-2]
        queries_at_once = max(1, _SLICE_SCORES // scores_per_query)
        slices = query.split(queries_at_once, dim=-2)
        return torch.cat([_softmax_attention(q, key, value) for q in slices], dim=-2)
    raise ValueError(
        f"unknown attention backend {backend!r}; known are {', '.join(ATTENTION_BACKENDS)}"
    )


def _softmax_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5  # [..., Q, K]
    out: Tensor = scores.softmax(dim=-1) @ value
    return out


def _relative_attention(
    query: Tensor, key: Tensor, value: Tensor, relative: RelativePositions
) -> Tensor:
    # One small matrix product per query position covers all leading dimensions at once.
    queries = query.movedim(-2, 0).flatten(1, -2)  # [Q, N, d]
    leading = query.shape[:-2]
    position_scores = queries @ relative.key.transpose(-1, -2)  # [Q, N, K]
    position_scores = torch.unflatten(position_scores, 1, leading).movedim(0, -2)  # [..., Q, K]
    scores = (query @ key.transpose(-1, -2) + position_scores) * query.shape[-1] ** -0.5
    weights = scores.softmax(dim=-1)  # [..., Q, K]
    per_query = weights.movedim(-2, 0).flatten(1, -2)  # [Q, N, K]
    position_values = torch.unflatten(per_query @ relative.value, 1, leading).movedim(0, -2)
    out: Tensor = weights @ value + position_values
    return out


class RelativePositionTables(nn.Module):
    """Learned vectors for clipped frame distances, shared by all heads of one layer.

    Distance ``k - q`` is clipped to ``[-max_distance, max_distance]``, so a clip longer than
    the training clips still has a vector for every pair.
    """

    def __init__(self, head_dim: int, max_distance: int) -> None:
        super().__init__()
        self.max_distance = max_distance
        self.key = nn.Parameter(torch.empty(2 * max_distance + 1, head_dim))
        self.value = nn.Parameter(torch.empty(2 * max_distance + 1, head_dim))
        nn.init.xavier_uniform_(self.key)
        nn.init.xavier_uniform_(self.value)

    def forward(self, num_frames: int) -> RelativePositions:
        frame = torch.arange(num_frames, device=self.key.device)
        distance = (frame[None, :] - frame[:, None]).clamp(-self.max_distance, self.max_distance)
        index = distance + self.max_distance  # [Q, K]
        return RelativePositions(self.key[index], self.value[index])


class Attention(nn.Module):
    """Multi-head attention over tokens.

    Args:
        dim: width of the tokens that ask.
        heads: number of heads.
        head_dim: width of a head; the inner width is ``heads * head_dim``.
        context_dim: width of the tokens that answer (None: ``dim``).
        image_context: adds keys and values for image tokens that reuse the text's query
            (VideoCrafter1, equation 4): ``Attn(q, k, v) + Attn(q, k', v')``.
        max_distance: with a value, relative positions up to that many frames.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        head_dim: int,
        *,
        context_dim: int | None = None,
        image_context: bool = False,
        max_distance: int | None = None,
    ) -> None:
        super().__init__()
        inner = heads * head_dim
        context_dim = dim if context_dim is None else context_dim
        self.heads = heads
        self.backend: AttentionBackend = "sdpa"
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_k = nn.Linear(context_dim, inner, bias=False)
        self.to_v = nn.Linear(context_dim, inner, bias=False)
        self.to_out = nn.Linear(inner, dim)
        if image_context:
            self.to_k_image = nn.Linear(context_dim, inner, bias=False)
            self.to_v_image = nn.Linear(context_dim, inner, bias=False)
        self.relative = (
            RelativePositionTables(head_dim, max_distance) if max_distance is not None else None
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Self-attention over the second dimension: ``[B, L, C] -> [B, L, C]``."""
        query = self._split_heads(self.to_q(tokens))  # [B, heads, L, d]
        key = self._split_heads(self.to_k(tokens))
        value = self._split_heads(self.to_v(tokens))
        relative = self.relative(tokens.shape[1]) if self.relative is not None else None
        out = attention(query, key, value, backend=self.backend, relative=relative)
        return self.to_out(self._join_heads(out))  # type: ignore[no-any-return]

    def cross(self, tokens: Tensor, text: KeysValues, image: KeysValues | None) -> Tensor:
        """Attend to keys and values that were computed once for the clip.

        ``tokens`` is ``[B, L, C]`` where L may run over all frames: the text is the same for each.
        """
        query = self._split_heads(self.to_q(tokens))  # [B, heads, L, d]
        out = attention(query, text.key, text.value, backend=self.backend)
        if image is not None:
            out = out + attention(query, image.key, image.value, backend=self.backend)
        return self.to_out(self._join_heads(out))  # type: ignore[no-any-return]

    def text_keys_values(self, text: Tensor) -> KeysValues:
        """Project text tokens ``[B, T, D]`` to keys and values."""
        return KeysValues(self._split_heads(self.to_k(text)), self._split_heads(self.to_v(text)))

    def image_keys_values(self, image: Tensor) -> KeysValues:
        """Project image tokens ``[B, N, D]`` to keys and values (K', V' of the paper)."""
        return KeysValues(
            self._split_heads(self.to_k_image(image)), self._split_heads(self.to_v_image(image))
        )

    def _split_heads(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)  # [B, heads, L, d]

    def _join_heads(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)  # [B, L, heads * d]
