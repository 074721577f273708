"""The error about a value of the engine's settings, and the models that raise it."""

from __future__ import annotations

from typing import Any

from common.settings import SettingsModel, allowed_words, bounds_of, choices_of, kinds_of


class EngineSettingsError(ValueError):
    """A value of the engine's settings is wrong.

    Attributes:
        key: the setting.
        message: what is wrong with its value.
    """

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        self.message = message
        super().__init__(f"{key}: {message}")


class EngineModel(SettingsModel):
    """Settings of the engine: a value that is not allowed raises EngineSettingsError."""

    @classmethod
    def error_type(cls) -> type[EngineSettingsError]:
        """Return EngineSettingsError."""
        return EngineSettingsError

    @classmethod
    def refusal(cls, key: str, fault: Any) -> EngineSettingsError:
        """Name the setting, its value and what is allowed."""
        field, value = cls.model_fields.get(key), fault["input"]
        if field is None:
            return EngineSettingsError(key, "is no setting of this name")
        match fault["type"]:
            case "missing":
                message = "is missing"
            case "value_error":
                message = str(fault["ctx"]["error"])
            case _ if choices := choices_of(field):
                message = f"{value!r} is none of {', '.join(choices)}"
            case _ if bool in kinds_of(field):
                message = f"{value!r} is neither true nor false"
            case _ if bounds_of(field):
                message = f"{value!r} is no {allowed_words(field).removeprefix('a ')}"
            case _:
                message = f"{value!r} is not allowed: {fault['msg']}"
        return EngineSettingsError(key, message)
