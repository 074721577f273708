"""The options that models are loaded with; see `engine.settings`."""

from engine.settings import AttentionChoice, ModelOptions, Offload, Precision

__all__ = ["AttentionChoice", "ModelOptions", "Offload", "Precision"]
