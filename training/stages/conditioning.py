"""Conditions of a batch: captions and pictures, some of them dropped for guidance.

What is dropped is replaced by what guidance puts in its place when a clip is made: the empty
caption goes through the text tower, mid grey through vision tower and projection net. Neither is a
zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModel

from engine.pipelines.images import clip_pixels, unconditional_pixels
from engine.pipelines.text import TextLayer, encode_text, tokenise
from training.stages.batches import VideoBatch

EMPTY = ""


class Dropped(NamedTuple):
    """The captions and the pictures of a batch that are dropped, bool ``[B]`` each."""

    captions: Tensor
    pictures: Tensor


def draw_captions_to_drop(rng: np.random.Generator, count: int, share: float) -> Tensor:
    """Draw the captions to drop, bool ``[B]``."""
    return torch.from_numpy(rng.random(count) < share)


def draw_one_kind_each(
    rng: np.random.Generator, count: int, *, caption: float, both: float, picture: float
) -> Dropped:
    """Each sample loses its caption, both, its picture, or nothing."""
    kind = rng.random(count)
    captions = kind < caption + both
    pictures = (kind >= caption) & (kind < caption + both + picture)
    return Dropped(torch.from_numpy(captions), torch.from_numpy(pictures))


class TextCondition:
    """Captions to the features that the UNet reads.

    Args:
        encoder: the text tower.
        tokenizer: its tokenizer.
        layer: which features.
    """

    def __init__(
        self,
        encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        layer: TextLayer,
    ) -> None:
        self.encoder, self.tokenizer, self.layer = encoder, tokenizer, layer

    def of(self, captions: Sequence[str]) -> Tensor:
        """``[B, 77, D]``"""
        return encode_text(self.encoder, self._token_ids(captions), self.layer)

    def of_batch(self, batch: VideoBatch, dropped: Tensor) -> Tensor:
        """``[B, 77, D]``, with the empty caption where one is dropped."""
        if batch.text is None or batch.empty_text is None:
            pairs = zip(batch.captions, dropped.tolist(), strict=True)
            return self.of([EMPTY if drop else caption for caption, drop in pairs])
        lost = dropped.to(batch.text.device)[:, None, None]
        return torch.where(lost, batch.empty_text.to(batch.text), batch.text)

    def _token_ids(self, captions: Sequence[str]) -> Tensor:
        return tokenise(self.tokenizer, captions).to(self.encoder.device)


class PictureCondition:
    """Condition frames to the image tokens that the UNet reads.

    Args:
        vision: the frozen vision tower; all tokens of its last block are used.
        projection: the projection net, which may be trained.
    """

    def __init__(self, vision: CLIPVisionModel, projection: nn.Module) -> None:
        self.vision, self.projection = vision, projection

    def of_batch(self, batch: VideoBatch, picks: Sequence[int], dropped: Tensor) -> Tensor:
        """``[B, N, D]``: tokens of one frame each, or of mid grey where it is dropped."""
        assert batch.frame_pixels is not None, "the recipe asks for data with pixels"
        size = int(self.vision.config.image_size)  # type: ignore[arg-type]  # square here
        pixels = clip_pixels(batch.frame_pixels(picks), size)  # [B, 3, S, S]
        pixels = torch.where(dropped[:, None, None, None], unconditional_pixels(size), pixels)
        with torch.no_grad():
            features = self.vision(
                pixels.to(self.vision.device, self.vision.dtype)
            ).last_hidden_state
        own = next(self.projection.parameters())
        return self.projection(features.to(own.dtype))  # type: ignore[no-any-return]
