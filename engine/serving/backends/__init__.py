"""Model families: what each says of itself, and how its clips are made."""

from engine.serving.backends.base import (
    BeforePart,
    ModelBackend,
    NonFiniteError,
    OnStep,
    Supports,
    VideoModel,
)
from engine.serving.backends.registry import BackendRegistry, default_backends

__all__ = [
    "BackendRegistry",
    "BeforePart",
    "ModelBackend",
    "NonFiniteError",
    "OnStep",
    "Supports",
    "VideoModel",
    "default_backends",
]
