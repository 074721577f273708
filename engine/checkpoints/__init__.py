"""Model folders: which ones there are, whether they can run, and how they become pipelines.

The catalogue needs no model framework; what does is imported on first use, so that listing the
models stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from engine.checkpoints.catalog import Catalog, ModelCard
from engine.checkpoints.errors import ModelLoadError, UnknownModelError
from engine.checkpoints.facts import FACTS_FILE, ModelFacts

if TYPE_CHECKING:
    from engine.checkpoints.load import load_pipeline

__all__ = [
    "FACTS_FILE",
    "Catalog",
    "ModelCard",
    "ModelFacts",
    "ModelLoadError",
    "UnknownModelError",
    "load_pipeline",
]

_HEAVY = {"load_pipeline": "engine.checkpoints.load"}


def __getattr__(name: str) -> object:
    """Import what needs torch and diffusers when it is first asked for (PEP 562)."""
    if name in _HEAVY:
        return getattr(importlib.import_module(_HEAVY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
