"""A digest of a model's weights and configuration, which tells one model from another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

_BLOCK = 1 << 20


def model_digest(model: nn.Module, config: Mapping[str, Any]) -> str:
    """SHA-256 of all weights with their names and types, and of the configuration.

    Keys of the configuration that begin with an underscore (where it was loaded from, by which
    version) do not count.
    """
    digest = hashlib.sha256()
    kept = {key: value for key, value in config.items() if not key.startswith("_")}
    digest.update(json.dumps(kept, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # Bytes, since numpy has no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
