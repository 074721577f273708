"""Turn pydantic's validation errors into one line about one setting."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from bot.settings.allowed import allowed_words, section_of, table_of
from bot.settings.secrets import Redactor, secrets_of_address
from common.validation import first_fault

_MAX_SHOWN: Final = 80
_ADDRESS: Final = re.compile(r"[a-z+]+://[^'\"\s]*", re.IGNORECASE)


def settings_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every plain setting below `model` with its dotted key."""
    for name, field in model.model_fields.items():
        section = section_of(field)
        if section is None:
            yield prefix + name, field
        else:
            yield from settings_of(section, f"{prefix}{name}.")


def explain(
    model: type[BaseModel],
    error: ValidationError,
    values: Mapping[str, Any],
    secrets: frozenset[tuple[str, ...]],
) -> tuple[str, str]:
    """Return the dotted key at fault and one line. Unknown keys first: they explain the rest."""
    fault = first_fault(error, prefer="extra_forbidden")
    path, unknown = fault.path, fault.kind == "extra_forbidden"
    if isinstance(key := getattr(fault.raised, "key", None), str):  # by a model with its own error
        path = (*path, key)
        unknown = len(_setting(model, path)[0]) < len(path)
    if unknown:
        return ".".join(path), f'unknown setting "{".".join(path)}"; {_advice(model, path)}'
    path, field = _setting(model, path)
    key = ".".join(path)
    if field is None:
        return key, f'"{key}" is a section and needs settings, not {_shown(values, path)}'
    if fault.kind == "missing":
        return key, f"{key} is missing; allowed: {allowed_words(field)}"
    given = "" if path in secrets else f" = {_shown(values, path)}"
    return key, f"{key}{given} is not allowed; allowed: {allowed_words(field)}"


def _setting(
    model: type[BaseModel], path: tuple[str, ...]
) -> tuple[tuple[str, ...], FieldInfo | None]:
    """Cut a fault's place down to the setting it lies in; None if it is a section itself."""
    for depth, name in enumerate(path, start=1):
        field = model.model_fields[name]
        if table := table_of(field):
            inner = table.model_fields.get("".join(path[depth + 1 : depth + 2]))
            return (path[: depth + 1], field) if inner is None else (path[: depth + 2], inner)
        section = section_of(field)
        if section is None:
            return path[:depth], field
        model = section
    return path, None


def _advice(model: type[BaseModel], path: tuple[str, ...]) -> str:
    """Name the nearest known setting: of the same section, else of the same name anywhere."""
    known = [key for key, field in settings_of(model) if not field.exclude]
    known += _table_keys(model, path)
    sections = [name for name, field in model.model_fields.items() if section_of(field)]
    key = ".".join(path)
    if len(path) == 1:
        candidates = [name for name in known if "." not in name] + sections
    else:
        candidates = [name for name in known if name.startswith(f"{path[0]}.")]
    near = difflib.get_close_matches(key, candidates, n=1, cutoff=0.6)
    if not near:
        leaves = {name.rpartition(".")[2]: name for name in known}
        leaf = difflib.get_close_matches(path[-1], leaves, n=1, cutoff=0.75)
        near = [leaves[name] for name in leaf]
    if not near:
        near = difflib.get_close_matches(key, candidates or known, n=1, cutoff=0.0)
    return f'did you mean "{near[0]}"?'


def _table_keys(model: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    """Return the keys of the table that a path leads into, if there is one."""
    for key, field in settings_of(model):
        depth = key.count(".") + 1
        table = table_of(field)
        if table is not None and ".".join(path[:depth]) == key and len(path) > depth:
            return [f"{key}.{path[depth]}.{name}" for name in table.model_fields]
    return []


def _shown(values: Mapping[str, Any], path: tuple[str, ...]) -> str:
    value: Any = values
    for name in path:
        value = value[name]
    try:
        text = repr(str(value) if isinstance(value, PurePath) else value)
    except ValueError:  # a number of thousands of digits
        text = "a very long number"
    addresses = _ADDRESS.findall(text)
    text = Redactor(secret for one in addresses for secret in secrets_of_address(one))(text)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
