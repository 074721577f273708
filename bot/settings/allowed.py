"""Describe the values allowed for a setting, the same in error messages and in `bot.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from common import settings
from common.settings import Allowed, kinds_of


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model behind a `[section]`, or None for a plain setting."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def mapped_kind(field: FieldInfo) -> Any:
    """Return the type of what a setting maps names to, or None for a setting that is no mapping."""
    if get_origin(field.annotation) is not Mapping:
        return None
    kind = get_args(field.annotation)[1]
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def table_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model behind each `[section.setting.NAME]`, or None for any other setting."""
    kind = mapped_kind(field)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def allowed_words(field: FieldInfo) -> str:
    """Say what a field may be in TOML, which has no null, e.g. "…, or 0 for automatic"."""
    words = settings.allowed_words(field)
    for item in field.metadata:
        if isinstance(item, Allowed) and item.none is not None:
            return f"{words}, or {_null_of(field)} for {item.none}"
    return words


def _null_of(field: FieldInfo) -> str:
    kinds = kinds_of(field)
    if any(get_origin(kind) is tuple for kind in kinds):
        return "[]"
    return "0" if int in kinds or float in kinds else '""'
