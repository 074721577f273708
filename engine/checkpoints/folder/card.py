"""Cards: descriptions of models for those who use them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from common.text import printable
from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.folder.lora import LoraSource
from engine.checkpoints.folder.metadata import NAME_PATTERN, ModelMetadata, Origin, Task
from engine.checkpoints.folder.weights import MODEL_INDEX, read_json_object

TITLE_LENGTH = 200
LICENCE_LENGTH = 300
_NAME = re.compile(NAME_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """Description of a model for those who use it.

    Sizes are pixels (width, height), rates frames per second. A model that is not `ready` has
    `problem`, one sentence for the person who installed it, and only `name`, `path` and
    `task` (as far as it can be guessed) mean anything. One that is not even `installed` is a
    published model that could be; everything but its `revision` is known already. One with
    `loras` is a variant of the model `base`, whose folder is its `path`.

    `family` names the backend that loads it.

    `revision` changes with everything that clips depend on: weights, configurations, tokenizer,
    noise schedule and sampling; `weights_revision` with the model's own weights alone. Texts are
    printable, whatever the folder states.
    """

    name: str
    title: str
    task: Task
    path: Path
    width: int = 0
    height: int = 0
    sizes: tuple[tuple[int, int], ...] = ()
    num_frames: int = 0
    fps_choices: tuple[int, ...] = ()
    default_fps: int = 0
    playback_fps: int | None = None
    default_steps: int = 0
    max_steps: int = 0
    default_guidance: float = 0.0
    max_guidance: float = 0.0
    scheduler: str = ""
    licence: str = ""
    revision: str = ""
    weights_revision: str = field(default="", compare=False)
    origin: Origin | None = None
    base: str | None = None
    loras: tuple[LoraSource, ...] = ()
    installed: bool = True
    ready: bool = False
    problem: str | None = None
    family: str = "videocrafter"

    @property
    def fps_min(self) -> int:
        """The slowest playback rate, frames per second."""
        return min(self.fps_choices, default=0)

    @property
    def fps_max(self) -> int:
        """The fastest playback rate, frames per second."""
        return max(self.fps_choices, default=0)

    @property
    def wants_image(self) -> bool:
        """True if the model starts from a picture."""
        return self.task == "image-to-video"


def broken_card(name: str, folder: Path, problem: object, task: Task) -> ModelCard:
    """Describe a model that is not ready, with the reason."""
    text = printable(str(problem) or "It cannot be read.")
    return ModelCard(name=name, title=name, task=task, path=folder, problem=text)


def check_name(folder: Path) -> None:
    """Raise if a folder's name cannot be a model's name.

    Raises:
        ModelLoadError: says what is allowed.
    """
    if not _NAME.fullmatch(folder.name):
        raise ModelLoadError(
            f"The folder's name {printable(folder.name, 80)!r} is no model's name: rename it to at "
            "most 64 letters, digits, dots, hyphens and underscores, without accents."
        )


def ready_card(name: str, folder: Path, metadata: ModelMetadata, revision: str) -> ModelCard:
    """Describe a model by the facts that its folder states."""
    native = (metadata.width, metadata.height)
    return ModelCard(
        name=name,
        title=printable(metadata.title, TITLE_LENGTH),
        task=metadata.task,
        path=folder,
        width=metadata.width,
        height=metadata.height,
        sizes=tuple(dict.fromkeys((native, *metadata.sizes))),
        num_frames=metadata.num_frames,
        fps_choices=tuple(sorted(set(metadata.fps))),
        default_fps=metadata.default_fps,
        playback_fps=metadata.playback_fps,
        default_steps=metadata.default_steps,
        max_steps=metadata.max_steps,
        default_guidance=metadata.default_guidance,
        max_guidance=metadata.max_guidance,
        scheduler=metadata.scheduler,
        licence=printable(metadata.licence, LICENCE_LENGTH),
        revision=revision,
        origin=metadata.origin,
        ready=True,
    )


def guess_task(folder: Path) -> Task:
    """Guess the task of a folder without valid metadata, which is listed with that task."""
    try:
        pipeline = str(read_json_object(folder / MODEL_INDEX).get("_class_name", ""))
    except (ModelLoadError, OSError):
        pipeline = folder.name
    image = "Image" in pipeline or "i2v" in pipeline.lower()
    return "image-to-video" if image else "text-to-video"
