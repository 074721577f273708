"""Model folders: which ones there are, whether they can run, and how they become pipelines.

Original checkpoints of the public VideoCrafter code become pipelines or model folders, too.

The catalogue needs no model framework; what does is imported on first use, so that listing the
models stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from engine.checkpoints.catalog import Catalog, ModelCard
from engine.checkpoints.disk import check_space
from engine.checkpoints.errors import (
    DiskSpaceError,
    InstallError,
    ModelLoadError,
    OriginalCheckpointError,
    OriginalConfigError,
    OutputExistsError,
    OutputFolderError,
    UnknownModelError,
)
from engine.checkpoints.folder.lora import LoraSource, LoraVariant, read_lora
from engine.checkpoints.folder.metadata import (
    FACTS_FILE,
    METADATA_FILE,
    ModelFacts,
    ModelMetadata,
    Origin,
)
from engine.checkpoints.hub.install import install_model, is_installed
from engine.checkpoints.hub.published import PUBLISHED, PublishedModel

if TYPE_CHECKING:
    from engine.checkpoints.loading.load import load_pipeline
    from engine.checkpoints.loading.lora_load import load_lora
    from engine.checkpoints.merge import merge_loras
    from engine.checkpoints.original.convert import convert_original
    from engine.checkpoints.original.load import load_original
    from engine.checkpoints.original.plan import expected_tensors

__all__ = [
    "FACTS_FILE",
    "METADATA_FILE",
    "PUBLISHED",
    "Catalog",
    "DiskSpaceError",
    "InstallError",
    "LoraSource",
    "LoraVariant",
    "ModelCard",
    "ModelFacts",
    "ModelLoadError",
    "ModelMetadata",
    "Origin",
    "OriginalCheckpointError",
    "OriginalConfigError",
    "OutputExistsError",
    "OutputFolderError",
    "PublishedModel",
    "UnknownModelError",
    "check_space",
    "convert_original",
    "expected_tensors",
    "install_model",
    "is_installed",
    "load_lora",
    "load_original",
    "load_pipeline",
    "merge_loras",
    "read_lora",
]

_HEAVY = {
    "convert_original": "engine.checkpoints.original.convert",
    "expected_tensors": "engine.checkpoints.original.plan",
    "load_lora": "engine.checkpoints.loading.lora_load",
    "load_original": "engine.checkpoints.original.load",
    "load_pipeline": "engine.checkpoints.loading.load",
    "merge_loras": "engine.checkpoints.merge",
}


def __getattr__(name: str) -> object:
    """Import what needs torch and diffusers when it is first asked for (PEP 562)."""
    if name in _HEAVY:
        return getattr(importlib.import_module(_HEAVY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
