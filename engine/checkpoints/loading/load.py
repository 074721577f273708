"""A model folder in diffusers layout becomes a pipeline.

A folder is data: the classes come from the tables below, never from module names that the folder
states, and weights are read from safetensors only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import torch
from diffusers import AutoencoderKL
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModel
from transformers.utils import logging as transformers_logging

from common.out_of_memory import is_out_of_memory, mentions_out_of_memory
from common.text import printable
from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.folder.card import ModelCard
from engine.checkpoints.folder.inspection import FileCache, check_network
from engine.checkpoints.folder.layout import (
    IMAGE_NETWORKS,
    SCHEDULER_CONFIG,
    TEXT_NETWORKS,
    find_network,
    networks_of,
)
from engine.checkpoints.folder.weights import MODEL_INDEX, components, read_json_object
from engine.checkpoints.loading.building import BUILDING
from engine.checkpoints.loading.lora_load import fuse_loras
from engine.models import ImageProjection, VideoUNet
from engine.pipelines import ImageToVideoPipeline, Pipeline, TextToVideoPipeline
from engine.schedulers import VideoScheduler, scheduler_from_config
from engine.schedulers.config import SCHEDULER_CLASSES

logger = logging.getLogger(__name__)

_CLASSES: Final[Mapping[str, Any]] = {
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "unet": VideoUNet,
    "image_encoder": CLIPVisionModel,
    "image_projection": ImageProjection,
}
_LIBRARIES: Final = dict(TEXT_NETWORKS) | dict(IMAGE_NETWORKS)


def load_pipeline(
    card: ModelCard,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    before_part: Callable[[str], None] | None = None,
) -> Pipeline:
    """Load a ready model, in evaluation mode.

    Args:
        card: the model, as the catalogue describes it.
        device: where the weights go.
        dtype: number format of all weights.
        before_part: called with the name of each network before it is loaded; what it raises ends
            the call.

    Raises:
        ModelLoadError: the model is not ready, or a part of it is missing, damaged or does not fit
            its configuration; the text is one sentence that names the part.
        torch.OutOfMemoryError, MemoryError: the weights do not fit.
    """
    if not card.ready:
        raise ModelLoadError(f"The model {card.name} is not ready: {card.problem}")
    parts = networks_of(card.task)
    listed = components(card.path)
    for name in (*parts, "tokenizer", "scheduler"):
        if name not in listed:
            raise ModelLoadError(f"{card.path} lacks the component {name!r}.")
    loaded: dict[str, Any] = {}
    for name in parts:
        if before_part is not None:
            before_part(name)
        loaded[name] = _load_part(card.path / name, name, dtype, top=card.path)
    if card.loras:
        fuse_loras(loaded["unet"], card.loras, model=card.base or card.name)
    loaded["tokenizer"] = load_tokenizer(card.path / "tokenizer")
    words, rows = len(loaded["tokenizer"]), loaded["text_encoder"].config.vocab_size
    if words > rows:
        raise ModelLoadError(
            f"The tokenizer of {card.path} has {words} entries, its text encoder only {rows}."
        )
    loaded["scheduler"] = load_scheduler(card)
    kind = ImageToVideoPipeline if card.wants_image else TextToVideoPipeline
    settings = _pipeline_settings(card.path)
    for name in ("unet", "vae"):
        # As the features lie, or every convolution would copy its weights at every call.
        loaded[name].to(memory_format=torch.channels_last)
    try:
        assembled = kind(**loaded, **settings)
    except (TypeError, ValueError, AttributeError) as error:
        raise ModelLoadError(
            f"The parts of {card.path} do not fit together: {_first_line(error)}"
        ) from error
    pipeline: Pipeline = assembled
    if torch.device(device).type == "cpu":  # where the parts are; diffusers warns of float16 there
        for name in parts:
            _own_memory(loaded[name])
    else:
        pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
    return pipeline


def load_unet(folder: Path, dtype: torch.dtype) -> VideoUNet:
    """The UNet alone, on the CPU.

    Raises:
        ModelLoadError: as `load_pipeline`.
    """
    unet = cast(VideoUNet, _load_part(folder, "unet", dtype, top=folder))
    _own_memory(unet)
    return unet


def _load_part(folder: Path, kind: str, dtype: torch.dtype, *, top: Path) -> torch.nn.Module:
    """One network; every one of its tensors must come from the files.

    Args:
        folder: of the network.
        kind: which network it is.
        dtype: number format of the weights.
        top: the model folder, which no link may leave.
    """
    files = find_network(folder, _LIBRARIES[kind], top=top)
    check_network(files, FileCache())
    # transformers would take the attention's code from the configuration.
    chosen = {"attn_implementation": "sdpa"} if files.library == "transformers" else {}
    with _faults_of(folder), BUILDING, _no_progress_bar():
        module, report = _CLASSES[kind].from_pretrained(
            folder,
            torch_dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **chosen,
        )
    for fault in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if keys := report.get(fault):
            word = fault.partition("_")[0]
            example = printable(min(map(str, keys)), 120)
            raise ModelLoadError(
                f"The weights in {folder} do not fit its config.json: {len(keys)} {word} tensors, "
                f"such as {example}."
            )
    result: torch.nn.Module = module.eval().requires_grad_(False)
    return result


def _own_memory(module: torch.nn.Module) -> None:
    """Copy weights out of the mapped files, which somebody may overwrite while they are used.

    They would change under the model; cut off, they would end the process.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = tensor.data.clone()


@contextmanager
def _faults_of(folder: Path) -> Iterator[None]:
    """Say in one sentence whatever a library raises about files that strangers made."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, ModelLoadError):
        raise
    except Exception as error:
        if is_out_of_memory(error) or mentions_out_of_memory(str(error)):
            raise MemoryError(str(error)) from error
        # The traceback tells a damaged folder from a fault of the library.
        logger.info("%s cannot be loaded", printable(str(folder)), exc_info=True)
        raise ModelLoadError(f"{folder} cannot be loaded: {_first_line(error)}") from error


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Keep transformers from drawing on stderr; what the user has chosen is put back."""
    if not transformers_logging.is_progress_bar_enabled():
        yield
        return
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.enable_progress_bar()


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer of a folder. Raises ModelLoadError if there is none, or it is damaged."""
    # Without them transformers makes a tokenizer that knows no words, and says nothing.
    if not ((folder / "tokenizer.json").is_file() or (folder / "vocab.json").is_file()):
        raise ModelLoadError(f"{folder} holds neither tokenizer.json nor vocab.json.")
    with _faults_of(folder):
        tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    return tokenizer


def load_scheduler(card: ModelCard) -> VideoScheduler:
    """The noise schedule of a model's folder with the sampler that its metadata name.

    Raises:
        ModelLoadError: the schedule is missing or damaged, or there is no such sampler.
    """
    folder = card.path / "scheduler"
    config = read_json_object(folder / SCHEDULER_CONFIG)
    if config.get("_class_name") not in SCHEDULER_CLASSES:
        known = ", ".join(SCHEDULER_CLASSES)
        raise ModelLoadError(f"{folder}: _class_name is none of {known}.")
    with _faults_of(folder):
        return scheduler_from_config(card.scheduler, config)


def _pipeline_settings(folder: Path) -> dict[str, Any]:
    """The plain values (no components, no private keys) of `model_index.json`."""
    index = read_json_object(folder / MODEL_INDEX)
    return {
        key: value
        for key, value in index.items()
        if not key.startswith("_") and not isinstance(value, list)
    }


def _first_line(error: Exception) -> str:
    lines = (str(error).strip() or type(error).__name__).splitlines()
    # A heading alone says nothing.
    text = " ".join(line.strip() for line in lines[:2]) if lines[0].endswith(":") else lines[0]
    return text.rstrip(".") + "."
