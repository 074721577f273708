"""The base of the exceptions of training."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """Training cannot begin or go on; the text says why and what to do."""
