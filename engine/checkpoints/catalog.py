"""The models this installation knows, and whether each is ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.checkpoints.errors import ModelLoadError, UnknownModelError
from engine.checkpoints.facts import ModelFacts, Task, read_facts
from engine.checkpoints.weights import MODEL_INDEX, WeightInspector, read_json_object

SHIPPED_MODELS = Path(__file__).resolve().parent.parent / "weights"
"""Where the models that come with the package lie, one folder each."""

MIN_GUIDANCE = 1.0
"""Classifier-free guidance 1 is the plain conditional prediction; less has no use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a user of a model needs to know about it.

    Sizes are pixels (width, height), rates frames per second. A model that is not ``ready`` has
    ``problem``, one sentence for the person who installed it, and only ``name``, ``path`` and
    ``task`` (as far as it can be told) mean anything.
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
    default_steps: int = 0
    max_steps: int = 0
    default_guidance: float = 0.0
    max_guidance: float = 0.0
    scheduler: str = ""
    licence: str = ""
    revision: str = ""
    ready: bool = False
    problem: str | None = None

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
        """Whether the model starts from a picture."""
        return self.task == "image-to-video"


class Catalog:
    """Finds model folders: the shipped ones and those that the settings name.

    The folders are looked at anew at every call, so a model that is repaired or installed while
    the program runs is seen; unchanged weight files are not read again. Thread-safe.

    Args:
        extra: name to folder of further models. A name that a shipped model has replaces it.
        shipped: the folder of shipped models.
    """

    def __init__(self, extra: Mapping[str, Path] | None = None, *, shipped: Path = SHIPPED_MODELS):
        self._extra = {name: Path(path) for name, path in (extra or {}).items()}
        self._shipped = shipped
        self._inspector = WeightInspector()

    def cards(self) -> tuple[ModelCard, ...]:
        """Every known model, sorted by name; never raises for a broken one."""
        folders: dict[str, Path] = {}
        if self._shipped.is_dir():
            folders = {
                path.name: path
                for path in self._shipped.iterdir()
                if path.is_dir() and not path.name.startswith((".", "_"))
            }
        folders |= self._extra
        return tuple(self._card(name, folders[name]) for name in sorted(folders))

    def get(self, name: str) -> ModelCard:
        """The card of one model, ready or not.

        Raises:
            UnknownModelError: there is no model of that name; the text lists those there are.
        """
        cards = {card.name: card for card in self.cards()}
        try:
            return cards[name]
        except KeyError:
            raise UnknownModelError(name, tuple(cards)) from None

    def _card(self, name: str, folder: Path) -> ModelCard:
        try:
            if not folder.is_dir():
                raise ModelLoadError(f"The folder {folder} does not exist.")
            facts = read_facts(folder)
            revision = self._inspector.revision(folder)
        except (ModelLoadError, OSError) as error:
            return ModelCard(
                name=name, title=name, task=_guess_task(folder), path=folder, problem=str(error)
            )
        return _ready_card(name, folder, facts, revision)


def _ready_card(name: str, folder: Path, facts: ModelFacts, revision: str) -> ModelCard:
    native = (facts.width, facts.height)
    return ModelCard(
        name=name,
        title=facts.title,
        task=facts.task,
        path=folder,
        width=facts.width,
        height=facts.height,
        sizes=tuple(dict.fromkeys((native, *facts.sizes))),
        num_frames=facts.num_frames,
        fps_choices=tuple(sorted(set(facts.fps))),
        default_fps=facts.default_fps,
        default_steps=facts.default_steps,
        max_steps=facts.max_steps,
        default_guidance=facts.default_guidance,
        max_guidance=facts.max_guidance,
        scheduler=facts.scheduler,
        licence=facts.licence,
        revision=revision,
        ready=True,
    )


def _guess_task(folder: Path) -> Task:
    """What a folder without valid facts is probably for, so that it is listed where it belongs."""
    try:
        pipeline = str(read_json_object(folder / MODEL_INDEX).get("_class_name", ""))
    except ModelLoadError:
        pipeline = folder.name
    image = "Image" in pipeline or "i2v" in pipeline.lower()
    return "image-to-video" if image else "text-to-video"
