"""The models this installation knows, and whether each is ready to run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from engine.checkpoints.errors import ModelLoadError, UnknownModelError
from engine.checkpoints.facts import FACTS_FILE, ModelFacts, Origin, Task, read_facts
from engine.checkpoints.lora import (
    LORA_FACTS,
    LoraInspector,
    LoraSource,
    LoraVariant,
    read_lora_facts,
)
from engine.checkpoints.published import PUBLISHED, PublishedModel
from engine.checkpoints.weights import (
    MODEL_INDEX,
    REVISION_LENGTH,
    WeightInspector,
    read_json_object,
)

SHIPPED_MODELS = Path(__file__).resolve().parent.parent / "weights"
"""Where the models that come with the package lie, one folder each."""

MIN_GUIDANCE = 1.0
"""Classifier-free guidance 1 is the plain conditional prediction; less has no use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a user of a model needs to know about it.

    Sizes are pixels (width, height), rates frames per second. A model that is not ``ready`` has
    ``problem``, one sentence for the person who installed it, and only ``name``, ``path`` and
    ``task`` (as far as it can be told) mean anything. One that is not even ``installed`` is a
    published model that could be; everything but its ``revision`` is known already. One with
    ``loras`` is a variant of the model ``base``, whose folder is its ``path``.
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
    origin: Origin | None = None
    base: str | None = None
    loras: tuple[LoraSource, ...] = ()
    installed: bool = True
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
        models_dir: the folder of installed models; a name that a shipped model has replaces it.
            None: no model is installed, and none is offered.
        published: models that are offered while they are not installed.
        variants: name to model with LoRAs; one replaces a folder of its name. A LoRA folder with a
            ``lora.json`` among the folders is a variant, too.
    """

    def __init__(
        self,
        extra: Mapping[str, Path] | None = None,
        *,
        shipped: Path = SHIPPED_MODELS,
        models_dir: Path | None = None,
        published: Mapping[str, PublishedModel] = PUBLISHED,
        variants: Mapping[str, LoraVariant] | None = None,
    ):
        self._extra = {name: Path(path) for name, path in (extra or {}).items()}
        self._shipped = shipped
        self._models_dir = models_dir
        self._published = published
        self._variants = dict(variants or {})
        self._inspector = WeightInspector()
        self._loras = LoraInspector(self._inspector)

    def cards(self) -> tuple[ModelCard, ...]:
        """Every known model, sorted by name; never raises for a broken one."""
        folders = _subfolders(self._shipped)
        if self._models_dir is not None:
            # Whoever keeps something else there shall not be told that it is no model.
            folders |= {
                name: path
                for name, path in _subfolders(self._models_dir).items()
                if any((path / file).exists() for file in (FACTS_FILE, MODEL_INDEX, LORA_FACTS))
            }
        folders |= self._extra
        lora_folders = {name: path for name, path in folders.items() if _is_lora(path)}
        cards = {
            name: self._card(name, folder)
            for name, folder in folders.items()
            if name not in lora_folders
        }
        if self._models_dir is not None:
            cards |= {
                name: _offered_card(model, self._models_dir / name)
                for name, model in self._published.items()
                if name not in folders
            }
        variants = {
            name: self._lora_folder_card(name, path, cards) for name, path in lora_folders.items()
        }
        variants |= {
            name: self._variant_card(name, variant, cards)
            for name, variant in self._variants.items()
        }
        return tuple(sorted((cards | variants).values(), key=lambda card: card.name))

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

    def _lora_folder_card(
        self, name: str, folder: Path, models: Mapping[str, ModelCard]
    ) -> ModelCard:
        try:
            facts = read_lora_facts(folder)
        except ModelLoadError as error:
            task = _guess_task(folder)
            return ModelCard(name=name, title=name, task=task, path=folder, problem=str(error))
        variant = LoraVariant(facts.base, (LoraSource(folder, facts.weight),))
        return self._variant_card(name, variant, models)

    def _variant_card(
        self, name: str, variant: LoraVariant, models: Mapping[str, ModelCard]
    ) -> ModelCard:
        base = models.get(variant.base)
        try:
            if base is None:
                raise ModelLoadError(f"Its base model {variant.base!r} is not known.")
            if not base.ready:
                raise ModelLoadError(f"Its base model {base.name} is not ready: {base.problem}")
            return self._with_loras(name, base, variant.loras)
        except (ModelLoadError, OSError) as error:
            path = variant.loras[0].path if base is None else base.path
            return ModelCard(
                name=name,
                title=name,
                task=_guess_task(path) if base is None else base.task,
                path=path,
                base=variant.base,
                loras=variant.loras,
                problem=str(error),
            )

    def _with_loras(self, name: str, base: ModelCard, loras: tuple[LoraSource, ...]) -> ModelCard:
        title, licences, revision = base.title, [base.licence], hashlib.sha256()
        revision.update(base.revision.encode())
        for source in loras:
            lora = self._loras.fitting(source, base.name, base.path, base.revision)
            title += f" + {lora.title} ({source.weight:g})"
            if lora.facts is not None:
                licences.append(lora.facts.licence)
            revision.update(self._loras.digest(source) + repr(source.weight).encode())
        return replace(
            base,
            name=name,
            title=title,
            licence=" and ".join(dict.fromkeys(licences)),
            revision=revision.hexdigest()[:REVISION_LENGTH],
            base=base.name,
            loras=loras,
        )


def _subfolders(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {
        path.name: path
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith((".", "_"))
    }


def _is_lora(folder: Path) -> bool:
    return (folder / LORA_FACTS).exists() and not (folder / MODEL_INDEX).exists()


def _offered_card(model: PublishedModel, folder: Path) -> ModelCard:
    return replace(
        _ready_card(model.name, folder, model.facts, revision=""),
        installed=False,
        ready=False,
        problem=f"It is not installed: {model.install_command}",
    )


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
        playback_fps=facts.playback_fps,
        default_steps=facts.default_steps,
        max_steps=facts.max_steps,
        default_guidance=facts.default_guidance,
        max_guidance=facts.max_guidance,
        scheduler=facts.scheduler,
        licence=facts.licence,
        revision=revision,
        origin=facts.origin,
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
