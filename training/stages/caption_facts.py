"""Text stage: the tokens that the UNet reads must all say what the caption says.

The UNet starts with attention spread evenly over 77 tokens, most of them padding. A word that only
its own token knows reaches it at 1/77 of the strength; the contrastive stage fixes that for
colours, which a picture shows at once, and hardly for directions. Here linear heads on the *mean*
token name the facts of the scene, so that every token, padding included, comes to carry them.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel

from engine.pipelines.text import encode_text, tokenise
from training.data.captions import caption
from training.data.synthetic import (
    BACKGROUNDS,
    COLOURS,
    MOTIONS,
    PLACES,
    SHAPES,
    SyntheticScene,
    sample_placed_scene,
    sample_scene,
)
from training.loop import distributed
from training.loop.task import ParameterGroup, StepKind
from training.recipe.model import CaptionFactsStage, Optimisation, Recipe
from training.stages.components import Components
from training.stages.diffusion import TEXT_LAYER
from training.stages.stage_task import StageTask
from training.stages.tokenizer import MAX_TOKENS

TEST_SEED = 97
FACTS: dict[str, tuple[str, ...]] = {
    "colour": tuple(COLOURS),
    "shape": SHAPES,
    "background": tuple(BACKGROUNDS),
    "motion": MOTIONS,
    "place": ("", *PLACES),
}


class AttributeProbe(nn.Module):
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


class CaptionBatch(NamedTuple):
    """Token ids of captions ``[B, 77]``, and the number of each fact's value ``{fact: [B]}``."""

    token_ids: Tensor
    facts: dict[str, Tensor]


class CaptionFactsTask(StageTask[CaptionBatch]):
    """Cross-entropy of the facts that a caption was made from.

    A caption may leave the background unsaid; that part of its loss then teaches the head the
    shares of the backgrounds, and the tower nothing.
    """

    section = CaptionFactsStage
    model: AttributeProbe

    @classmethod
    def of(cls, recipe: Recipe, components: Components) -> Self:
        assert isinstance(recipe.stage, CaptionFactsStage)
        return cls(recipe.stage, recipe.optimisation, components)

    def __init__(
        self, stage: CaptionFactsStage, plan: Optimisation, components: Components | None = None
    ) -> None:
        networks = components or Components()
        self._plan = plan
        self.tokenizer = networks.tokenizer(stage.towers)
        self.model = AttributeProbe(
            networks.load(CLIPTextModel, stage.start / "text_encoder", "start")
        )

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup(list(self.model.parameters()))]

    def draw(self, rng: np.random.Generator, step: int) -> CaptionBatch:
        return self._drawn(rng, distributed.share_of(self._plan.batch_size, self._plan.accumulate))

    def step_kinds(self) -> tuple[StepKind, ...]:
        return (StepKind("caption", 1.0, self._plan.batch_size),)

    def example_batch(self, kind: str, count: int) -> CaptionBatch:
        ids = torch.zeros(count, MAX_TOKENS, dtype=torch.int64, device=self.device)
        return CaptionBatch(ids, dict.fromkeys(FACTS, ids[:, 0]))

    def batch_loss(self, batch: CaptionBatch, rng: np.random.Generator) -> Tensor:
        scores = self.model(batch.token_ids)
        losses = [F.cross_entropy(scores[fact], wanted) for fact, wanted in batch.facts.items()]
        return torch.stack(losses).sum()

    def evaluate(self) -> dict[str, float]:
        batch = self._drawn(np.random.default_rng(TEST_SEED), 256)
        scores = self.model(batch.token_ids)
        return {
            fact: (scores[fact].argmax(dim=1) == wanted).float().mean().item()
            for fact, wanted in batch.facts.items()
        }

    def sample_size(self) -> str:
        return "a caption"

    def components(self) -> dict[str, nn.Module]:
        return {"text_encoder": self.model.text_encoder}

    def export(self, folder: Path) -> None:
        self.model.text_encoder.save_pretrained(folder / "text_encoder")

    def _drawn(self, rng: np.random.Generator, count: int) -> CaptionBatch:
        scenes = [
            sample_placed_scene(rng) if rng.random() < 0.3 else sample_scene(rng)
            for _ in range(count)
        ]
        captions = [caption(scene, rng) for scene in scenes]
        facts = {
            fact: torch.tensor([values.index(_value(scene, fact)) for scene in scenes])
            for fact, values in FACTS.items()
        }
        return CaptionBatch(
            tokenise(self.tokenizer, captions).to(self.device),
            {fact: values.to(self.device) for fact, values in facts.items()},
        )


def _value(scene: SyntheticScene, fact: str) -> str:
    return getattr(scene, fact) or ""
