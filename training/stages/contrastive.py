"""Stage 2: the CLIP towers of the demo model, clips against captions.

A single frame does not show a direction, so the picture side embeds several frames and reads
their tokens together: "left" and "right" must come out differently, or the loss stays high.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel

from engine.pipelines.images import clip_pixels
from engine.pipelines.text import tokenise
from training.data.captions import caption, every_word
from training.data.synthetic import CANVAS, render, sample_scene
from training.loop import distributed
from training.loop.task import ParameterGroup, StepKind
from training.recipe.model import ContrastiveStage, Optimisation, Recipe
from training.stages.components import Components
from training.stages.stage_task import StageTask
from training.stages.tokenizer import MAX_TOKENS, make_tokenizer

TEST_SEED = 98


class ClipTowers(nn.Module):
    """Text tower, vision tower, and the two projections that only this stage uses."""

    def __init__(self, stage: ContrastiveStage, vocabulary: int, end_token: int) -> None:
        super().__init__()
        width, embed_dim = stage.width, stage.embed_dim
        self.text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary,
                hidden_size=width,
                intermediate_size=4 * width,
                num_hidden_layers=stage.text_layers,
                num_attention_heads=stage.heads,
                max_position_embeddings=MAX_TOKENS,
                hidden_act="gelu",
                projection_dim=embed_dim,
                bos_token_id=end_token - 1,
                eos_token_id=end_token,
                pad_token_id=0,
            )
        )
        self.vision = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=width,
                intermediate_size=4 * width,
                num_hidden_layers=stage.vision_layers,
                num_attention_heads=stage.heads,
                image_size=CANVAS,
                patch_size=stage.patch_size,
                hidden_act="gelu",
                projection_dim=embed_dim,
            )
        )
        self.text_head = nn.Linear(width, embed_dim, bias=False)
        self.clip_head = nn.Linear(width * len(stage.frames), embed_dim, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def embed_text(self, token_ids: Tensor) -> Tensor:
        """``[B, 77] -> [B, E]``, unit length"""
        return F.normalize(self.text_head(self.text(token_ids).pooler_output), dim=-1)

    def embed_clips(self, frames: Tensor) -> Tensor:
        """``[B, K, 3, H, W]`` in CLIP's normalised range ``-> [B, E]``, unit length"""
        pooled = self.vision(frames.flatten(0, 1)).pooler_output  # [B*K, W]
        joined = pooled.unflatten(0, frames.shape[:2]).flatten(1)  # [B, K*W]
        return F.normalize(self.clip_head(joined), dim=-1)


class ContrastiveBatch(NamedTuple):
    """Clips in CLIP's normalised range ``[B, K, 3, H, W]``, and the token ids of their captions."""

    clips: Tensor
    token_ids: Tensor


class ContrastiveTask(StageTask[ContrastiveBatch]):
    """Symmetric InfoNCE over the batch (CLIP, arXiv 2103.00020)."""

    section = ContrastiveStage
    model: ClipTowers

    @classmethod
    def of(cls, recipe: Recipe, components: Components) -> Self:
        assert isinstance(recipe.stage, ContrastiveStage)
        return cls(recipe.stage, recipe.optimisation)

    def __init__(self, stage: ContrastiveStage, plan: Optimisation) -> None:
        self.stage = stage
        self._plan = plan
        self.tokenizer = make_tokenizer(every_word())
        self.model = ClipTowers(stage, len(self.tokenizer), self.tokenizer.eos_token_id)

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup(list(self.model.parameters()))]

    def draw(self, rng: np.random.Generator, step: int) -> ContrastiveBatch:
        return self._drawn(rng, distributed.share_of(self._plan.batch_size, self._plan.accumulate))

    def step_kinds(self) -> tuple[StepKind, ...]:
        return (StepKind("clip", 1.0, self._plan.batch_size),)

    def example_batch(self, kind: str, count: int) -> ContrastiveBatch:
        frames = len(self.stage.frames)
        return ContrastiveBatch(
            torch.zeros(count, frames, 3, CANVAS, CANVAS, device=self.device),
            torch.zeros(count, MAX_TOKENS, dtype=torch.int64, device=self.device),
        )

    def batch_loss(self, batch: ContrastiveBatch, rng: np.random.Generator) -> Tensor:
        scores = self._scores(batch)
        target = torch.arange(len(scores), device=scores.device)
        return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2

    def evaluate(self) -> dict[str, float]:
        scores = self._scores(self._drawn(np.random.default_rng(TEST_SEED), 64))
        hits = scores.argmax(dim=1) == torch.arange(len(scores), device=scores.device)
        return {"retrieval_of_64": hits.float().mean().item()}

    def sample_size(self) -> str:
        return f"{len(self.stage.frames)} frames of {CANVAS}x{CANVAS} and a caption"

    def components(self) -> dict[str, nn.Module]:
        return {"text_encoder": self.model.text, "image_encoder": self.model.vision}

    def export(self, folder: Path) -> None:
        self.model.text.save_pretrained(folder / "text_encoder")
        self.model.vision.save_pretrained(folder / "image_encoder")
        self.tokenizer.save_pretrained(folder / "tokenizer")

    def _drawn(self, rng: np.random.Generator, count: int) -> ContrastiveBatch:
        scenes = [sample_scene(rng) for _ in range(count)]
        captions = [caption(scene, rng) for scene in scenes]
        frames = torch.stack([render(scene, self.stage.frames) for scene in scenes])
        pixels = clip_pixels(frames.flatten(0, 1).float() / 255, CANVAS).to(self.device)
        return ContrastiveBatch(
            pixels.unflatten(0, frames.shape[:2]),
            tokenise(self.tokenizer, captions).to(self.device),
        )

    def _scores(self, batch: ContrastiveBatch) -> Tensor:
        clips = self.model.embed_clips(batch.clips)
        texts = self.model.embed_text(batch.token_ids)
        return self.model.log_scale.exp().clamp(max=100) * clips @ texts.T
