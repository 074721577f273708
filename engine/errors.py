"""The base of the engine's exceptions."""

from __future__ import annotations


class EngineError(Exception):
    """Something that the engine refuses or cannot do; the text says what, in one sentence."""
