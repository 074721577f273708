"""Check from settings and headers alone that a model folder can be loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from common.text import printable
from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.folder.json_reader import VOCABULARY_BYTES, read_object
from engine.checkpoints.folder.layout import NetworkFiles, read_index
from engine.schedulers.config import (
    DEFAULT_TRAIN_TIMESTEPS,
    SCHEDULER_CLASSES,
    check_sampler,
    nearest_steps,
)

# Keys by which a configuration would choose code, kernels or files of its own.
_CHOOSES_CODE: Final = re.compile(
    r"_?(attn|attention|experts)_implementation(_internal)?"
    r"|quantization(_config)?|compression_config|auto_map|custom_pipelines?|custom_code|module_file"
    r"|trust_remote_code|transformers_weights|use_kernels?|kernel_config|fusion_config|adapter_.*"
    r"|code_revision|gguf_file|tp_plan|base_model_tp_plan|device_map|load_in_[48]bit"
)
_HARMLESS: Final[tuple[object, ...]] = (None, False, "", [], {})
TEXT_LAYERS: Final = ("last", "penultimate")
_ADAPTER: Final = "adapter_config.json"  # transformers would load another model for it

# Of these there cannot be more than tensors...
_COUNTS: Final = ("num_hidden_layers", "num_res_blocks", "transformer_depth", "depth")
# ... and these are sides of some tensor. Larger ones would be built before anything is compared.
_SIDES: Final = ("vocab_size", "hidden_size", "intermediate_size", "max_position_embeddings")

_MOST: Final = 10**6
_NOT_FLOATING: Final = ("position_ids",)


def check_network(
    files: NetworkFiles, config: Mapping[str, Any], tensors: Mapping[Path, Mapping[str, Any]]
) -> None:
    """Raise if a network cannot be what its files say.

    Args:
        files: of the network.
        config: contents of its `config.json`.
        tensors: of each of its weight files, by name; values with `shape`.

    Raises:
        ModelLoadError: names the file and what is wrong with it.
    """
    if files.library == "transformers" and (files.folder / _ADAPTER).exists():
        raise ModelLoadError(f"{files.folder} holds {_ADAPTER}; adapters are not supported here.")
    check_config(files.config, config)
    shapes = {name: info.shape for held in tensors.values() for name, info in held.items()}
    if files.index is not None:
        listed = read_index(files.index)
        for file, held in tensors.items():
            stray = next((name for name in held if listed.get(name) != file.name), None)
            if stray is not None:
                raise ModelLoadError(
                    f"{files.index} does not fit its files: it does not say that "
                    f"{printable(stray, 120)} lies in {file.name}."
                )
        lost = next((name for name in listed if name not in shapes), None)
        if lost is not None:
            raise ModelLoadError(
                f"{files.index} does not fit its files: none holds {printable(lost, 120)}."
            )
    largest = max((side for shape in shapes.values() for side in shape), default=0)
    for keys, most in ((_COUNTS, len(shapes)), (_SIDES, largest)):
        for key in keys:
            value = config.get(key)
            if type(value) is int and value > most:
                raise ModelLoadError(
                    f"{files.config} does not fit the weights: {key} is {value}, but no more than "
                    f"{most} can be there."
                )


def check_config(path: Path, config: Mapping[str, Any]) -> None:
    """Raise if a configuration chooses code, or holds numbers that no network has.

    Raises:
        ModelLoadError: names the file and the key.
    """
    for key, value in _walk(config):
        if _CHOOSES_CODE.fullmatch(key) and value not in _HARMLESS:
            raise ModelLoadError(
                f"{path} sets {printable(key, 80)}, which chooses code and not a network: take it "
                "out, if the model does without."
            )
        if isinstance(value, int | float) and not -_MOST <= value <= _MOST:
            raise ModelLoadError(f"{path}: {printable(key, 80)} is out of range.")


def check_pipeline(path: Path, index: Mapping[str, Any]) -> None:
    """Raise if `model_index.json` sets something that no pipeline here has.

    Raises:
        ModelLoadError: names the file and the key.
    """
    settings = {
        key: value
        for key, value in index.items()
        if not key.startswith("_") and not isinstance(value, list)
    }
    layer, share = settings.pop("text_layer", "last"), settings.pop("shared_noise", 0)
    if layer not in TEXT_LAYERS:
        raise ModelLoadError(
            f"{path.parent}: the parts do not fit together: text_layer: one of "
            f"{', '.join(TEXT_LAYERS)}."
        )
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ModelLoadError(f"{path.parent}: the parts do not fit together: shared_noise: 0 to 1.")
    if settings:
        key = printable(min(settings), 80)
        raise ModelLoadError(f"{path}: {key} is no setting of a pipeline.")


def check_tokenizer(files: tuple[Path, ...]) -> None:
    """Raise if a tokenizer's files cannot be read.

    Raises:
        ModelLoadError: names the file.
    """
    for file in files:
        if file.suffix != ".json":
            continue
        content = read_object(file, limit=VOCABULARY_BYTES, byte_order_mark=False)
        if file.name == "tokenizer.json":
            model = content.get("model")
            if not isinstance(model, dict) or not model.get("vocab"):
                raise ModelLoadError(f"{file} holds no vocabulary.")
            _try_tokenizer(file)
        elif file.name == "vocab.json" and not content:
            raise ModelLoadError(f"{file} holds no vocabulary.")


def _try_tokenizer(file: Path) -> None:
    """Raise if the library that reads the file later does not take it."""
    from tokenizers import Tokenizer

    try:
        Tokenizer.from_file(str(file))
    except BaseException as error:
        # What Rust gives up with is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ModelLoadError(
            f"{file.parent} cannot be loaded: {file.name}: {printable(str(error), 200)}."
        ) from None


def check_scheduler(folder: Path, config: Mapping[str, Any], *, sampler: str, steps: int) -> int:
    """Check that the sampler of a model can run its usual number of steps.

    Args:
        folder: of the scheduler.
        config: contents of its `scheduler_config.json`.
        sampler: its name.
        steps: what the model's metadata call usual.

    Returns:
        The usual number of steps, or its neighbour where the sampler knows no such run.

    Raises:
        ModelLoadError: says what is allowed.
    """
    if config.get("_class_name") not in SCHEDULER_CLASSES:
        known = ", ".join(SCHEDULER_CLASSES)
        raise ModelLoadError(f"{folder}: _class_name is none of {known}.")
    try:
        most = check_sampler(sampler, config)
    except (TypeError, ValueError) as error:
        raise ModelLoadError(f"{folder} cannot be loaded: {error}.") from error
    if steps > most:
        raise ModelLoadError(
            f"{folder.parent}: default_steps is {steps}, but {sampler} runs {most} steps at most."
        )
    total = config.get("num_train_timesteps", DEFAULT_TRAIN_TIMESTEPS)
    return nearest_steps(sampler, steps, total)


def check_floating(tensors: Mapping[Path, Any]) -> None:
    """Raise if a weight file holds whole numbers where weights should be.

    Args:
        tensors: headers by file.

    Raises:
        ModelLoadError: names the tensor.
    """
    for file, header in tensors.items():
        header.check_floating(file, whole_numbers=_NOT_FLOATING)


def _walk(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Keys and values at every depth; the reader has bounded it."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield name, inner
            yield from _walk(inner, name)
    elif isinstance(value, list):
        for inner in value:
            if not isinstance(inner, Mapping | list):
                yield key, inner
            else:
                yield from _walk(inner, key)
