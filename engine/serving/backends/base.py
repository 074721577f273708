"""The seam between serving and a model family.

A family is one `ModelBackend`. It describes model folders, checks parameters, estimates memory and
loads models; a loaded `VideoModel` turns parameters into frames. Queue, workers, retries, encoding
and files are the engine's, and know nothing of networks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.checkpoints.catalog import ModelCard
from engine.checkpoints.errors import ModelLoadError
from engine.errors import EngineError
from engine.params import ResolvedParams
from engine.serving.cancellation import Check
from engine.settings import ModelOptions

Clip = Any
"""A clip that has not been decoded, in whatever form the family samples: latents, as a rule."""

OnStep = Callable[[int, Sequence[Clip]], None]
"""``(step, clips)``: step 1, 2, … is done; each clip of the batch as far as it is known."""

BeforePart = Callable[[str], None]
"""Called with the name of each network before it is loaded; what it raises ends the loading."""

_BYTES_A_PIXEL: Final = 512


class NonFiniteError(EngineError, ArithmeticError):
    """The model produced NaN or infinite values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Supports:
    """Features of one model; the engine refuses or adapts what the model cannot do.

    Attributes:
        image: it can start from a picture.
        fps: the frame rate can be chosen.
        negative_prompt: it can steer away from a text.
        batches: several clips can be sampled in one call.
        cancel_per_step: sampling calls back after each step, where it can be ended.
        lora: LoRAs can be added to its weights.
    """

    image: bool = False
    fps: bool = False
    negative_prompt: bool = False
    batches: bool = False
    cancel_per_step: bool = True
    lora: bool = False


class VideoModel(Protocol):
    """A loaded model on one device. Used by one thread at a time."""

    @property
    def bytes(self) -> int:
        """Size of the weights, wherever they lie."""

    def configure(self, options: ModelOptions) -> None:
        """Switch what can be changed on a loaded model: attention, tiling, slicing."""

    def run(self, batch: Sequence[ResolvedParams], on_step: OnStep) -> Sequence[Clip]:
        """Sample one clip for each parameters, in their order; what `on_step` raises ends it.

        A clip depends on its own parameters alone, but for rounding, whatever the batch.
        """

    def decode(
        self, clip: Clip, check: Check, *, low_memory: bool = False
    ) -> npt.NDArray[np.uint8]:
        """Return the frames [F, H, W, 3], RGB.

        Args:
            clip: one of those that `run` returned.
            check: called between the parts of the work.
            low_memory: in the way that needs least memory.

        Raises:
            NonFiniteError: the clip holds values that are no numbers.
        """

    def preview(self, clip: Clip) -> Image.Image | None:
        """Return one frame of an unfinished clip; None if the family cannot."""

    def release(self) -> None:
        """Give back what a batch has left on the device, such as fetched weights."""


class ModelBackend(ABC):
    """A model family. Thread-safe.

    A family has to say its name, which folders are its own, and how one is loaded; for everything
    else there is a default. It is sent to other machines as its class, which is made there without
    arguments.
    """

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return type(self), ()

    @property
    @abstractmethod
    def family(self) -> str:
        """The name of the family, that of `ModelCard.family`."""

    @abstractmethod
    def describe(self, name: str, folder: Path) -> ModelCard | None:
        """Return the card of a model folder of this family; None for other folders.

        Called for every folder at every look at the catalogue: it has to be quick.

        Raises:
            ModelLoadError: the folder is one of this family, but cannot be loaded.
        """

    @abstractmethod
    def load(
        self, card: ModelCard, device: str, options: ModelOptions, before_part: BeforePart
    ) -> VideoModel:
        """Load a ready model for a device.

        Args:
            card: the model.
            device: a torch device name.
            options: those that the device has a use for.
            before_part: see `BeforePart`.

        Raises:
            ModelLoadError: a part is missing, damaged or does not fit.
            torch.OutOfMemoryError, MemoryError: the weights do not fit.
        """

    def supports(self, card: ModelCard) -> Supports:
        """Return the features of a model; nothing but what every model can do."""
        return Supports()

    def check(self, card: ModelCard, params: ResolvedParams) -> None:
        """Raise RequestError for parameters that the card allows and the model cannot do."""
        return

    def unread(self, card: ModelCard, text: str) -> str | None:
        """Return the end of a prompt that the model does not read; None if it reads all."""
        return None

    def revision(self, card: ModelCard) -> str:
        """Return the model's revision as the disk has it now. Raises ModelLoadError."""
        described = self.describe(card.name, card.path)
        return "" if described is None else described.revision

    def weight_bytes(self, card: ModelCard, device: str, options: ModelOptions) -> int:
        """Return the size of the weights once they are loaded; that of the files.

        Raises:
            ModelLoadError: the files cannot be read.
        """
        try:
            return sum(file.stat().st_size for file in card.path.rglob("*.safetensors"))
        except OSError as error:
            raise ModelLoadError(f"{card.path} cannot be read: {error}") from error

    def clip_bytes(self, card: ModelCard, params: ResolvedParams) -> int:
        """Return a guess of the memory that sampling takes for each clip of a batch.

        It serves until a clip of the shape has been made and measured; too much is safe.
        """
        return _BYTES_A_PIXEL * params.width * params.height * params.num_frames
