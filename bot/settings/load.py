"""Loading of settings from the file, the environment and overrides, later ones winning."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from bot.settings.addresses import has_password
from bot.settings.errors import SettingsError
from bot.settings.explain import explain

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

_MAX_DEPTH: Final = 32

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings from one place. `name` is said in errors; relative paths count from `base`."""

    name: str
    base: Path
    values: Mapping[str, Any]


def load_layers(path: str | Path | None, overrides: Mapping[str, Any] | None) -> tuple[Layer, ...]:
    """The layers, weakest first. Raises SettingsError for a missing or broken file."""
    here = Path.cwd()
    layers = []
    file = _find_file(path)
    if file is not None:
        values = _read(file)
        _refuse_secrets(file, values)
        layers.append(Layer(str(file), file.absolute().parent, values))
    for variable, keys in VARIABLES.items():
        value = os.environ.get(variable, "").strip()
        if value:
            layers.append(Layer(variable, here, _nested(keys, value)))
    if overrides:
        layers.append(Layer("overrides", here, overrides))
    return tuple(layers)


def validated(model: type[_Model], layers: tuple[Layer, ...]) -> _Model:
    """The model from all layers; raises SettingsError about the first value that does not fit."""
    merged: dict[str, Any] = {"data_dir": Path.cwd() / model.model_fields["data_dir"].default}
    for layer in layers:
        merged = _merge(merged, _with_absolute_paths(layer))
    try:
        return model.model_validate(merged)
    except ValidationError as error:
        # Without its cause: the cause could print what was given, a token perhaps.
        key, message = explain(model, error, merged, frozenset(SECRETS))
        source = _source(layers, tuple(key.split(".")))
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
        data = file.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(str(file), f"settings file {file}: {reason}") from error
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line, column = _position(data[: error.start].decode("utf-8-sig"))
        raise SettingsError(
            str(file), f"{file}: not UTF-8 text (line {line}, column {column})"
        ) from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        if not re.search(r"line \d+, column \d+", message):  # "at end of document"
            line, column = _position(text)
            message = f"{message} (at line {line}, column {column})"
        raise SettingsError(str(file), f"{file}: not valid TOML: {message}") from error
    except RecursionError:
        raise _too_deep(file) from None
    except ValueError as error:  # a number of thousands of digits
        raise SettingsError(str(file), f"{file}: not valid TOML: {error}") from error
    if _depth(values) > _MAX_DEPTH:
        raise _too_deep(file)
    return values


def _too_deep(file: Path) -> SettingsError:
    return SettingsError(str(file), f"{file}: tables or lists are nested too deeply")


def _depth(value: object) -> int:
    """Return how deep tables and lists lie in one another; without recursion."""
    depth, level = 0, [value]
    while level := [
        inner
        for outer in level
        if isinstance(outer, dict | list)
        for inner in (outer.values() if isinstance(outer, dict) else outer)
    ]:
        depth += 1
    return depth


def _position(text: str) -> tuple[int, int]:
    """Line and column, from 1, right after the text."""
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def _refuse_secrets(file: Path, values: Mapping[str, Any]) -> None:
    for keys, variable in SECRETS.items():
        if _has(values, keys):
            key = ".".join(keys)
            raise SettingsError(
                key,
                f"{file}: {key} is a secret and does not belong into a file; "
                f"set the environment variable {variable}",
            )
    address = values.get("database")
    address = address.get("url") if isinstance(address, Mapping) else None
    if isinstance(address, str) and has_password(address):
        key = ".".join(DATABASE_URL)
        raise SettingsError(
            key,
            f"{file}: {key} holds a password, which does not belong into a file; "
            "set the environment variable FLOOR33_DATABASE_URL to the whole address",
        )


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


def _with_absolute_paths(layer: Layer) -> dict[str, Any]:
    """The layer with `data_dir`, the log's and the models' and LoRAs' paths made absolute."""
    values = dict(layer.values)
    if isinstance(log := values.get("log"), Mapping) and "file" in log:
        values["log"] = {**log, "file": _absolute(layer.base, log["file"])}
    if "data_dir" in values:
        values["data_dir"] = _absolute(layer.base, values["data_dir"])
    models = values.get("models")
    if isinstance(models, Mapping) and isinstance(models.get("extra"), Mapping):
        extra = {name: _absolute(layer.base, path) for name, path in models["extra"].items()}
        models = values["models"] = {**models, "extra": extra}
    if isinstance(models, Mapping) and isinstance(models.get("loras"), Mapping):
        loras = {
            name: {**lora, "path": _absolute(layer.base, lora["path"])}
            if isinstance(lora, Mapping) and "path" in lora
            else lora
            for name, lora in models["loras"].items()
        }
        values["models"] = {**models, "loras": loras}
    return values


def _absolute(base: Path, value: object) -> object:
    if not isinstance(value, str | Path) or not str(value).strip():
        return value  # the model says what is wrong with it
    return base / Path(value).expanduser()


def _source(layers: tuple[Layer, ...], keys: tuple[str, ...]) -> str | None:
    """The name of the layer whose value counted."""
    for layer in reversed(layers):
        if _has(layer.values, keys):
            return layer.name
    return None
