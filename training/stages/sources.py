"""The choice of a source of batches by the recipe's data section."""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

from engine.checkpoints.folder.weights import MODEL_INDEX
from training.recipe.model import DiffusionStage, Optimisation
from training.recipe.sections import LatentData, MediaData
from training.stages.batches import BatchSource
from training.stages.components import Components, frozen, frozen_dtype
from training.stages.latents import LatentSource
from training.stages.media import MediaSource
from training.stages.procedural import ClipSampler

_SHARED_LATENTS = Path("runs/latents")


def make_source(
    stage: DiffusionStage,
    plan: Optimisation,
    networks: Components,
    *,
    seed: int,
    frozen_text: bool,
) -> BatchSource:
    """Open the data of a stage.

    Args:
        stage: of the recipe.
        plan: batch size and passes.
        networks: where autoencoder and text tower come from.
        seed: of the recipe.
        frozen_text: the stage does not train the text tower.

    Raises:
        RecipeError: sizes or batches do not fit.
        TrainingError: a data set cannot be used.
    """
    match stage.data:
        case None:
            return ClipSampler(stage, plan, _latents_folder(stage.vae))
        case MediaData() as data:
            vae = frozen(networks.vae(stage), frozen_dtype(plan))
            return MediaSource(data, plan, vae, seed=seed, probe_clips=stage.probe_clips)
        case LatentData() as data:
            text = networks.text_folder(stage) if frozen_text else None
            return LatentSource(stage, data, plan, seed=seed, text=text)
        case _ as unknown:
            assert_never(unknown)


def _latents_folder(vae: Path) -> Path:
    """Beside the autoencoder's run; what the engine serves is left as it is."""
    served = (vae.parent / MODEL_INDEX).exists()
    return _SHARED_LATENTS if served else vae.parent / "latents"
