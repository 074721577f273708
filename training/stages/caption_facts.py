"""Text stage: the tokens that the UNet reads must all say what the caption says.

The UNet starts with attention spread evenly over 77 tokens, most of them padding. A word that only
its own token knows reaches it at 1/77 of the strength; the contrastive stage fixes that for
colours, which a picture shows at once, and hardly for directions. Here linear heads on the *mean*
token name the facts of the scene, so that every token, padding included, comes to carry them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from engine.pipelines.text import encode_text, tokenise
from training.data.captions import caption
from training.data.world import (
    BACKGROUNDS,
    COLOURS,
    MOTIONS,
    PLACES,
    SHAPES,
    Scene,
    sample_placed_scene,
    sample_scene,
)
from training.loop import distributed
from training.loop.task import ParameterGroup, Task
from training.recipe.model import CaptionFactsStage, Optimisation
from training.stages.diffusion import TEXT_LAYER

TEST_SEED = 97
FACTS: dict[str, tuple[str, ...]] = {
    "colour": tuple(COLOURS),
    "shape": SHAPES,
    "background": tuple(BACKGROUNDS),
    "motion": MOTIONS,
    "place": ("", *PLACES),
}


class FactReader(nn.Module):
    """The text tower and one linear head a fact."""

    def __init__(self, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        width = text_encoder.config.hidden_size
        self.heads = nn.ModuleDict({fact: nn.Linear(width, len(v)) for fact, v in FACTS.items()})

    def forward(self, token_ids: Tensor) -> dict[str, Tensor]:
        """``[B, 77] -> {fact: [B, values]}``"""
        mean = encode_text(self.text_encoder, token_ids, TEXT_LAYER).mean(dim=1)  # [B, D]
        return {fact: head(mean) for fact, head in self.heads.items()}


class CaptionFactsTask(Task):
    """Cross-entropy of the facts that a caption was made from.

    A caption may leave the background unsaid; that part of its loss then teaches the head the
    shares of the backgrounds, and the tower nothing.
    """

    model: FactReader

    def __init__(self, stage: CaptionFactsStage, plan: Optimisation) -> None:
        self.batch_size = distributed.share_of(plan.batch_size, plan.accumulate)
        self.tokenizer = CLIPTokenizer.from_pretrained(stage.towers / "tokenizer")
        self.model = FactReader(
            CLIPTextModel.from_pretrained(stage.start / "text_encoder", use_safetensors=True)
        )

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup(list(self.model.parameters()))]

    def loss(self, rng: np.random.Generator, step: int) -> Tensor:
        losses, _ = self._losses_and_hits(rng, self.batch_size)
        return torch.stack(list(losses.values())).sum()

    def evaluate(self) -> dict[str, float]:
        _, hits = self._losses_and_hits(np.random.default_rng(TEST_SEED), 256)
        return hits

    def sample_size(self) -> str:
        return "a caption"

    def export(self, folder: Path) -> None:
        self.model.text_encoder.save_pretrained(folder / "text_encoder")

    def _losses_and_hits(
        self, rng: np.random.Generator, count: int
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        scenes = [
            sample_placed_scene(rng) if rng.random() < 0.3 else sample_scene(rng)
            for _ in range(count)
        ]
        captions = [caption(scene, rng) for scene in scenes]
        scores = self.model(tokenise(self.tokenizer, captions).to(self.device))
        losses, hits = {}, {}
        for fact, values in FACTS.items():
            wanted = torch.tensor([values.index(_value(scene, fact)) for scene in scenes])
            wanted = wanted.to(self.device)
            losses[fact] = F.cross_entropy(scores[fact], wanted)
            hits[fact] = (scores[fact].argmax(dim=1) == wanted).float().mean().item()
        return losses, hits


def _value(scene: Scene, fact: str) -> str:
    return getattr(scene, fact) or ""
