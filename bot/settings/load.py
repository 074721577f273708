"""Load settings from the file, the environment and overrides, later ones winning."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from bot.settings.addresses import has_password
from bot.settings.allowed import mapped_kind, section_of, table_of
from bot.settings.errors import SettingsError
from bot.settings.explain import explain
from common.settings import kinds_of
from common.toml_file import TomlFileError, read_toml

CONFIG_VARIABLE: Final = "FLOOR33_CONFIG"
DEFAULT_FILE: Final = "bot.toml"
DATABASE_URL: Final = ("database", "url")
# Environment variable -> the setting it stands for.
VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "FLOOR33_DATA_DIR": ("data_dir",),
    "DISCORD_TOKEN": ("discord", "token"),
    "OPENAI_API_KEY": ("expansion", "api_key"),
    "FLOOR33_DATABASE_URL": DATABASE_URL,
}
SECRETS: Final = {
    path: name for name, path in VARIABLES.items() if path[-1] in ("token", "api_key")
}

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings from one place. `name` is said in errors; relative paths count from `base`."""

    name: str
    base: Path
    values: Mapping[str, Any]


def load_layers(path: str | Path | None, overrides: Mapping[str, Any] | None) -> tuple[Layer, ...]:
    """Return the layers, weakest first. Raises SettingsError for a missing or broken file."""
    here = Path.cwd()
    layers = []
    file = _find_file(path)
    if file is not None:
        layers.append(Layer(str(file), file.absolute().parent, _read(file)))
    for variable, keys in VARIABLES.items():
        value = os.environ.get(variable, "").strip()
        if value:
            layers.append(Layer(variable, here, _nested(keys, value)))
    if overrides:
        layers.append(Layer("overrides", here, overrides))
    return tuple(layers)


def validated(model: type[_Model], layers: tuple[Layer, ...]) -> _Model:
    """Return the model from all layers. Raises SettingsError about the first value at fault."""
    merged: dict[str, Any] = {"data_dir": Path.cwd() / model.model_fields["data_dir"].default}
    for layer in layers:
        merged = _merge(merged, _with_absolute_paths(model, layer.values, layer.base))
    try:
        return model.model_validate(merged)
    except ValidationError as error:
        # Without its cause: the cause could print what was given, a token perhaps.
        key, message = explain(model, error, merged, frozenset(SECRETS))
        keys = tuple(key.split("."))
        source = next((one.name for one in reversed(layers) if _has(one.values, keys)), None)
        raise SettingsError(key, f"{source}: {message}" if source else message) from None


def _find_file(path: str | Path | None) -> Path | None:
    if path is not None:
        return Path(path).expanduser()
    named = os.environ.get(CONFIG_VARIABLE, "").strip()
    if named:
        return Path(named).expanduser()
    default = Path(DEFAULT_FILE)
    return default if default.exists() else None


def _read(file: Path) -> dict[str, Any]:
    try:
        values = read_toml(file)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(str(file), f"settings file {file}: {reason}") from error
    except TomlFileError as error:
        raise SettingsError(str(file), f"{file}: {error}") from error
    for keys, variable in SECRETS.items():
        if _has(values, keys):
            key = ".".join(keys)
            raise SettingsError(
                key,
                f"{file}: {key} is a secret and does not belong into a file; "
                f"set the environment variable {variable}",
            )
    address = values["database"]["url"] if _has(values, DATABASE_URL) else None
    if isinstance(address, str) and has_password(address):
        key = ".".join(DATABASE_URL)
        raise SettingsError(
            key,
            f"{file}: {key} holds a password, which does not belong into a file; "
            "set the environment variable FLOOR33_DATABASE_URL to the whole address",
        )
    return values


def _nested(keys: tuple[str, ...], value: object) -> dict[str, Any]:
    for key in reversed(keys[1:]):
        value = {key: value}
    return {keys[0]: value}


def _has(values: object, keys: tuple[str, ...]) -> bool:
    for key in keys:
        if not isinstance(values, Mapping) or key not in values:
            return False
        values = values[key]
    return True


def _merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        if isinstance(value, Mapping):
            merged[key] = _merge(below if isinstance(below, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


def _with_absolute_paths(
    model: type[BaseModel], values: Mapping[str, Any], base: Path
) -> dict[str, Any]:
    """Return the values, every path among them counted from `base`."""
    found = dict(values)
    for name in found.keys() & model.model_fields.keys():
        field, value = model.model_fields[name], found[name]
        if Path in kinds_of(field):
            found[name] = _absolute(base, value)
        elif not isinstance(value, Mapping):
            continue  # the model says what is wrong with it, if anything is
        elif section := section_of(field):
            found[name] = _with_absolute_paths(section, value, base)
        elif table := table_of(field):
            found[name] = {
                key: _with_absolute_paths(table, one, base) if isinstance(one, Mapping) else one
                for key, one in value.items()
            }
        elif mapped_kind(field) is Path:
            found[name] = {key: _absolute(base, one) for key, one in value.items()}
    return found


def _absolute(base: Path, value: object) -> object:
    if not isinstance(value, str | Path) or not str(value).strip():
        return value
    return base / Path(value).expanduser()
