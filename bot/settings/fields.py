"""The parts that the sections of the settings are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SecretStr,
    Strict,
)

from bot.settings.allowed import Allowed


def _none_if_unset(value: Any) -> Any:
    """TOML has no null: 0 or [] stand for "not set". (False is a mistake, not a 0.)"""
    return None if value in (0, [], ()) and value is not False else value


def upper(value: Any) -> Any:
    """Names are read in any case."""
    return value.upper() if isinstance(value, str) else value


def check_path(value: Any) -> Any:
    """Raises ValueError for what cannot be a path."""
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise ValueError("not a path")
    return value


def blank_is_none(value: Any) -> Any:
    """An empty text, too, stands for a value that is not set."""
    return None if isinstance(value, str) and not value.strip() else value


StrictInt = Annotated[int, Strict()]
StrictBool = Annotated[bool, Strict()]
Folder = Annotated[Path, BeforeValidator(check_path), Allowed("the path of a folder")]
Unset = BeforeValidator(_none_if_unset)
# Secrets come from the environment; they are neither shown nor written anywhere.
Secret = Annotated[SecretStr | None, BeforeValidator(blank_is_none), Allowed("a text")]


class Section(BaseModel):
    """A table of `bot.toml`: frozen, without unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True
    )
