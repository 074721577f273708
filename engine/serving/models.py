"""The pipelines that a worker keeps."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import cast

import torch

from engine.checkpoints.catalog import ModelCard
from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.load import load_pipeline
from engine.pipelines import VideoPipeline
from engine.serving.failures import is_out_of_memory
from engine.serving.memory import apply_options, usable_options
from engine.serving.options import ModelOptions, Precision

logger = logging.getLogger(__name__)


def choose_dtype(device: str, precision: Precision) -> torch.dtype:
    """The number format of the weights on a device."""
    if precision != "auto":
        return cast(torch.dtype, getattr(torch, precision))
    if not device.startswith("cuda"):
        return torch.float32
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float16


class PipelineCache:
    """The loaded models of one device: loaded when first needed, then kept.

    A model whose weights have changed on disk is loaded again. When memory runs out while a model
    is loaded, the others are let go and it is tried once more. A model that is offloaded needs the
    device for itself: those that lie there are let go before it is used.

    Args:
        device: a torch device name.
        options_of: tells from a model's name how it is loaded.
    """

    def __init__(self, device: str, options_of: Callable[[str], ModelOptions]) -> None:
        self._device = device
        self._options_of = options_of
        self._loaded: dict[str, tuple[str, VideoPipeline]] = {}

    def get(self, card: ModelCard) -> VideoPipeline:
        """The pipeline of a model.

        Raises:
            ModelLoadError: it cannot be loaded.
        """
        if not card.ready:
            raise ModelLoadError(f"The model {card.name} is not ready: {card.problem}")
        if self._offloaded(card.name):
            self._drop_resident()
        revision, pipeline = self._loaded.get(card.name, ("", None))
        if pipeline is None or revision != card.revision:
            self._loaded.pop(card.name, None)
            pipeline = self._load(card)
            self._loaded[card.name] = (card.revision, pipeline)
        return pipeline

    def clear(self) -> None:
        """Let go of every model and give its memory back."""
        self._loaded.clear()
        release_memory()

    def _load(self, card: ModelCard) -> VideoPipeline:
        logger.info("loading %s (%s) on %s", card.name, card.revision, self._device)
        try:
            return self._load_once(card)
        except (RuntimeError, MemoryError) as error:
            if not (is_out_of_memory(error) and self._loaded):
                raise
        logger.warning("no memory for %s beside the loaded models; dropping those", card.name)
        self.clear()
        return self._load_once(card)

    def _load_once(self, card: ModelCard) -> VideoPipeline:
        options = usable_options(self._options_of(card.name), self._device)
        dtype = choose_dtype(self._device, options.precision)
        first = "cpu" if options.offload != "none" else self._device
        pipeline = load_pipeline(card, device=first, dtype=dtype)
        apply_options(pipeline, options, torch.device(self._device))
        return pipeline

    def _offloaded(self, name: str) -> bool:
        return usable_options(self._options_of(name), self._device).offload != "none"

    def _drop_resident(self) -> None:
        resident = [name for name in self._loaded if not self._offloaded(name)]
        for name in resident:
            logger.info("dropping %s, for an offloaded model needs the device", name)
            del self._loaded[name]
        if resident:
            release_memory()


def release_memory() -> None:
    """Return what is no longer used to the device, after a failure above all."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
