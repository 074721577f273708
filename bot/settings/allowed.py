"""The values allowed for a setting, in words, the same in error messages and in `bot.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True)
class Allowed:
    """Marks a field whose allowed values do not follow from its type and bounds."""

    words: str


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model behind a `[section]`, or None for a plain setting."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def table_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model behind each `[section.setting.NAME]` of a setting, or None for any other."""
    kind = field.annotation
    if get_origin(kind) is not Mapping:
        return None
    values = get_args(kind)[1]
    return values if isinstance(values, type) and issubclass(values, BaseModel) else None


def allowed_words(field: FieldInfo) -> str:
    """Say what the field may be, e.g. "a whole number from 1 to 100" or "one of a, b"."""
    for item in field.metadata:
        if isinstance(item, Allowed):
            return item.words
    kinds = _kinds(field.annotation)
    for kind in kinds:
        if get_origin(kind) is Literal:
            return "one of " + ", ".join(f'"{choice}"' for choice in get_args(kind))
    if bool in kinds:
        return "true or false"
    low = next((item.ge for item in field.metadata if isinstance(item, Ge)), None)
    high = next((item.le for item in field.metadata if isinstance(item, Le)), None)
    noun = "a whole number" if int in kinds else "a number"
    return f"{noun} from {low} to {high}"


def _kinds(annotation: object) -> tuple[object, ...]:
    if get_origin(annotation) in (Union, UnionType):
        return get_args(annotation)
    return (annotation,)
