"""A model folder in diffusers layout becomes a pipeline.

A folder is data: the classes come from the tables below, never from module names that the folder
states, and weights are read from safetensors only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import torch
from diffusers import AutoencoderKL
from safetensors import SafetensorError
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModel
from transformers.utils import logging as transformers_logging

from engine.checkpoints.catalog import ModelCard
from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.fuse import fuse_loras
from engine.checkpoints.weights import components, read_json_object
from engine.models import ImageProjection, VideoUNet
from engine.pipelines import ImageToVideoPipeline, TextToVideoPipeline
from engine.schedulers import (
    OriginalDDIMScheduler,
    SolverScheduler,
    VideoScheduler,
    scheduler_from_config,
)

Pipeline = TextToVideoPipeline | ImageToVideoPipeline

_TEXT_PARTS: Final[Mapping[str, Any]] = {
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "unet": VideoUNet,
}
_IMAGE_PARTS: Final[Mapping[str, Any]] = {
    "image_encoder": CLIPVisionModel,
    "image_projection": ImageProjection,
}
_SCHEDULERS: Final = (OriginalDDIMScheduler.__name__, SolverScheduler.__name__)
_LOADING_FAULTS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RuntimeError,
    NotImplementedError,
    SafetensorError,
)


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
    parts = dict(_TEXT_PARTS) | (dict(_IMAGE_PARTS) if card.wants_image else {})
    listed = components(card.path)
    for name in (*parts, "tokenizer", "scheduler"):
        if name not in listed:
            raise ModelLoadError(f"{card.path} lacks the component {name!r}.")
    loaded: dict[str, Any] = {}
    for name, part in parts.items():
        if before_part is not None:
            before_part(name)
        loaded[name] = _load_part(card.path / name, part, dtype)
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
        pipeline: Pipeline = kind(**loaded, **settings).to(device)
    except (TypeError, ValueError) as error:
        raise ModelLoadError(f"The parts of {card.path} do not fit together: {error}.") from error
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
    return pipeline


def load_unet(folder: Path, dtype: torch.dtype) -> VideoUNet:
    """The UNet alone, on the CPU.

    Raises:
        ModelLoadError: as `load_pipeline`.
    """
    return cast(VideoUNet, _load_part(folder, VideoUNet, dtype))


def _load_part(folder: Path, kind: Any, dtype: torch.dtype) -> torch.nn.Module:
    """One network; every one of its tensors must come from the files."""
    try:
        with _no_progress_bar():
            module, report = kind.from_pretrained(
                folder,
                torch_dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except _LOADING_FAULTS as error:
        if "can't allocate memory" in str(error):
            raise MemoryError(str(error)) from error
        raise ModelLoadError(f"{folder} cannot be loaded: {_first_line(error)}") from error
    for fault in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if keys := report.get(fault):
            word = fault.partition("_")[0]
            example = next(iter(sorted(map(str, keys))))
            raise ModelLoadError(
                f"The weights in {folder} do not fit its config.json: {len(keys)} {word} tensors, "
                f"such as {example}."
            )
    result: torch.nn.Module = module.eval().requires_grad_(False)
    return result


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
    try:
        tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except _LOADING_FAULTS as error:
        raise ModelLoadError(f"{folder} cannot be loaded: {_first_line(error)}") from error
    return tokenizer


def load_scheduler(card: ModelCard) -> VideoScheduler:
    """The noise schedule of a model's folder with the sampler that its facts name.

    Raises:
        ModelLoadError: the schedule is missing or damaged, or there is no such sampler.
    """
    folder = card.path / "scheduler"
    config = read_json_object(folder / "scheduler_config.json")
    if config.get("_class_name") not in _SCHEDULERS:
        known = ", ".join(_SCHEDULERS)
        raise ModelLoadError(f"{folder}: _class_name is none of {known}.")
    try:
        return scheduler_from_config(card.scheduler, config)
    except _LOADING_FAULTS as error:
        raise ModelLoadError(f"{folder} cannot be loaded: {_first_line(error)}") from error


def _pipeline_settings(folder: Path) -> dict[str, Any]:
    """The plain values (no components, no private keys) of ``model_index.json``."""
    index = read_json_object(folder / "model_index.json")
    return {
        key: value
        for key, value in index.items()
        if not key.startswith("_") and not isinstance(value, list)
    }


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".") + "."
