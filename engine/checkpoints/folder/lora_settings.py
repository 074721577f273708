"""Settings that a LoRA's file states: rank, alpha, and kinds that are not plain.

People state them in many places: as diffusers' JSON in the file's metadata, as single texts there
under names of peft, kohya and others, nested in further JSON, or in peft's file beside the weights.
All of them are read; what contradicts itself or cannot be understood is refused, for a LoRA at half
its strength looks like one that works.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.text import printable
from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.folder.json_reader import BadJsonError, parse_object, read_object

ADAPTER_CONFIG: Final = "adapter_config.json"
"""peft's own file, beside the weights."""

MAX_ALPHA: Final = 1e6

_DIFFUSERS: Final = "lora_adapter_metadata"
_RANKS: Final = frozenset({"r", "rank", "lora_rank", "lora_r", "network_dim", "lora_dim", "dim"})
_ALPHAS: Final = frozenset({"alpha", "lora_alpha", "network_alpha"})
_NOT_PLAIN: Final = ("use_dora", "use_qalora", "lora_bias", "rank_pattern", "alpha_pattern")
_NO: Final = frozenset({"", "none", "null", "false", "0", "{}", "[]"})
# Texts about the training data and the program, in which any word can stand.
_ABOUT_OTHER_THINGS: Final = (
    "ss_tag_frequency",
    "ss_bucket_info",
    "ss_datasets",
    "ss_dataset_dirs",
)
_GRAPHS: Final = ("workflow", "prompt")


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """Rank and alpha as stated, None where they are not, and whether the scale is rank-stabilised.

    `alpha` is above 0 and finite, `rank` at least 1.
    """

    rank: int | None
    alpha: float | None
    rslora: bool


def read_settings(file: Path, metadata: Mapping[str, str]) -> AdapterSettings:
    """Read what is stated about a LoRA.

    Args:
        file: of its weights, for messages and for peft's file beside it.
        metadata: of that file.

    Raises:
        ModelLoadError: it is no plain LoRA, or a number is none, impossible, or stated in two ways.
    """
    stated = list(_stated(file, metadata))
    for key, value in stated:
        if key in _NOT_PLAIN and not _is_no(value):
            raise ModelLoadError(f"{file}: {key} is not supported; only plain LoRA is.")
        if key == "peft_type" and str(value).rpartition(".")[2].upper() != "LORA":
            raise ModelLoadError(f"{file} is a {printable(str(value), 40)}, no LoRA.")
        if "alpha" in key and key not in _ALPHAS and not _is_no(value) and key not in _NOT_PLAIN:
            raise ModelLoadError(
                f"{file} states {printable(key, 80)}, and it is not known which alpha that is."
            )
    ranks = [_rank(file, value) for key, value in stated if key in _RANKS and not _unsaid(value)]
    alphas = [_alpha(file, value) for key, value in stated if key in _ALPHAS and not _unsaid(value)]
    scales = [_flag(file, key, value) for key, value in stated if key == "use_rslora"]
    return AdapterSettings(_only(file, "ranks", ranks), _only(file, "alphas", alphas), any(scales))


def _stated(file: Path, metadata: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Names without prefixes, and values, from every place."""
    for key, text in metadata.items():
        if key == _DIFFUSERS:
            try:
                yield from _own(parse_object(text))
            except BadJsonError as error:
                raise ModelLoadError(f"{file}: its metadata is no JSON ({error}).") from error
        elif text.lstrip().startswith("{"):
            yield from _nested(file, key, text)
        else:
            yield from _own({key: text})
    beside = file.parent / ADAPTER_CONFIG
    if beside.exists():
        yield from _own(read_object(beside))


def _nested(file: Path, key: str, text: str) -> Iterator[tuple[str, Any]]:
    if key in _ABOUT_OTHER_THINGS or key in _GRAPHS:
        return
    try:
        found = parse_object(text)
    except BadJsonError as error:
        if "alpha" in text:
            raise ModelLoadError(
                f"{file}: its metadata {printable(key, 40)} mentions an alpha, but is no JSON "
                f"({error})."
            ) from error
        return
    # Any word may stand in here; only those that mean rank and alpha are taken.
    known = _RANKS | _ALPHAS | {*_NOT_PLAIN, "use_rslora"}
    yield from ((name, value) for name, value in _own(found) if name in known)


def _own(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        parents, _, name = key.rpartition(".")
        if parents.startswith("text_encoder") or key.startswith("text_encoder"):
            continue
        name = name.lower().removeprefix("ss_")
        if isinstance(value, Mapping) and name not in _NOT_PLAIN:
            yield from _own(value)
        else:
            yield name, value


def _rank(file: Path, value: Any) -> int:
    number = _number(value)
    if number is None or number != int(number) or not 1 <= number <= 2**20:
        raise ModelLoadError(f"{file}: its rank is no whole number above 0: {_shown(value)}.")
    return int(number)


def _alpha(file: Path, value: Any) -> float:
    number = _number(value)
    if number is None:
        raise ModelLoadError(f"{file}: lora_alpha is no number: {_shown(value)}.")
    if number == 0:
        raise ModelLoadError(f"{file} states an alpha of 0, with which it would do nothing.")
    if not 0 < number <= MAX_ALPHA:
        raise ModelLoadError(
            f"{file}: its alpha must be above 0 and at most {MAX_ALPHA:g}, not {_shown(value)}."
        )
    return number


def _number(value: Any) -> float | None:
    """A finite number, stated as one or as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _flag(file: Path, key: str, value: Any) -> bool:
    if _is_no(value):
        return False
    if value is True or str(value).lower() in ("true", "1"):
        return True
    raise ModelLoadError(f"{file}: {key} is neither true nor false: {_shown(value)}.")


def _only(file: Path, what: str, values: list[Any]) -> Any:
    if len(set(values)) > 1:
        listed = ", ".join(f"{value:g}" for value in sorted(set(values)))
        raise ModelLoadError(f"{file} states several {what}: {listed}.")
    return values[0] if values else None


def _unsaid(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.lower() in ("", "none", "null"))


def _is_no(value: Any) -> bool:
    return not value or (isinstance(value, str) and value.lower() in _NO)


def _shown(value: Any) -> str:
    return printable(repr(value), 60)
