"""The parts that the sections of the settings are made of."""

from __future__ import annotations

from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from common.settings import Allowed, Section, StrictInt, kinds_of

MAX_ID: Final = 2**63 - 1


def upper(value: Any) -> Any:
    """Return a name in capitals: names are read in any case."""
    return value.upper() if isinstance(value, str) else value


def check_path(value: Any) -> Any:
    """Raise ValueError for what cannot be a path."""
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise ValueError("not a path")
    return value


Folder = Annotated[Path, BeforeValidator(check_path), Allowed("the path of a folder")]
# Secrets come from the environment; they are neither shown nor written anywhere.
Secret = Annotated[SecretStr | None, Allowed("a text")]
DiscordId = Annotated[StrictInt, Field(ge=1, le=MAX_ID)]


class Table(Section):
    """A table of `bot.toml`: 0, [] and "" leave a setting unset, for TOML has no null."""

    @field_validator("*", mode="before")
    @classmethod
    def _null(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        blank = isinstance(value, str) and not value.strip()
        # False equals 0, but is a mistake.
        unset = blank or (value in (0, [], ()) and value is not False)
        return None if unset and NoneType in kinds_of(field) else value
