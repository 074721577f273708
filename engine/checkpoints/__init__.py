"""Model folders: which ones there are, whether they can run, and how they become pipelines.

Original checkpoints of the public VideoCrafter code become pipelines or model folders, too.

The catalogue needs no model framework; what does is imported on first use, so that listing the
models stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from engine.checkpoints.catalog import Catalog, ModelCard
from engine.checkpoints.errors import ModelLoadError, UnknownModelError
from engine.checkpoints.facts import FACTS_FILE, ModelFacts
from engine.checkpoints.original.errors import (
    OriginalCheckpointError,
    OriginalConfigError,
    OutputFolderError,
)

if TYPE_CHECKING:
    from engine.checkpoints.load import load_pipeline
    from engine.checkpoints.original.convert import convert_original
    from engine.checkpoints.original.load import load_original
    from engine.checkpoints.original.plan import expected_tensors

__all__ = [
    "FACTS_FILE",
    "Catalog",
    "ModelCard",
    "ModelFacts",
    "ModelLoadError",
    "OriginalCheckpointError",
    "OriginalConfigError",
    "OutputFolderError",
    "UnknownModelError",
    "convert_original",
    "expected_tensors",
    "load_original",
    "load_pipeline",
]

_HEAVY = {
    "convert_original": "engine.checkpoints.original.convert",
    "expected_tensors": "engine.checkpoints.original.plan",
    "load_original": "engine.checkpoints.original.load",
    "load_pipeline": "engine.checkpoints.load",
}


def __getattr__(name: str) -> object:
    """Import what needs torch and diffusers when it is first asked for (PEP 562)."""
    if name in _HEAVY:
        return getattr(importlib.import_module(_HEAVY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
