"""The settings that the serving modules are made with; see `engine.settings`."""

from engine.settings import EngineSettings

__all__ = ["EngineSettings"]
