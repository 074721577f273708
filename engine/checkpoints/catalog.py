"""The models this installation knows, and whether each is ready to run."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from common.text import printable
from engine.checkpoints.errors import ModelLoadError, UnknownModelError
from engine.checkpoints.folder.card import (
    LICENCE_LENGTH,
    TITLE_LENGTH,
    ModelCard,
    broken_card,
    check_name,
    guess_task,
    ready_card,
)
from engine.checkpoints.folder.lora import (
    LORA_METADATA,
    LoraSource,
    LoraVariant,
    lora_file,
    read_lora_metadata,
)
from engine.checkpoints.folder.lora_inspector import LoraInspector
from engine.checkpoints.folder.lora_settings import ADAPTER_CONFIG
from engine.checkpoints.folder.metadata import METADATA_FILE, ModelMetadata, read_metadata
from engine.checkpoints.folder.weights import (
    MODEL_INDEX,
    REVISION_LENGTH,
    ModelFingerprint,
    WeightInspector,
)
from engine.checkpoints.hub.published import PUBLISHED, PublishedModel, offered_card

__all__ = ["MIN_GUIDANCE", "SHIPPED_MODELS", "Catalog", "ModelCard", "current_revision"]

logger = logging.getLogger(__name__)

SHIPPED_MODELS = Path(__file__).resolve().parent.parent / "weights"
"""Folder of the models that come with the package, one folder each."""

MIN_GUIDANCE = 1.0
"""Classifier-free guidance 1 is the plain conditional prediction; less has no use."""


class Catalog:
    """Finds model folders: the shipped ones and those that the settings name.

    The folders are read at every call, so a model that is repaired or installed while
    the program runs is seen; unchanged weight files are not read again. Thread-safe.

    Args:
        extra: name to folder of further models. A name that a shipped model has replaces it.
        shipped: the folder of shipped models.
        models_dir: the folder of installed models; a name that a shipped model has replaces it.
            None: no model is installed, and none is offered.
        published: models that are offered while they are not installed.
        variants: name to model with LoRAs; one replaces a folder of its name. A LoRA folder with a
            `lora.json` among the folders is a variant, too.
        failed: tells models, by name and revision, that could not be loaded, and why. They are not
            ready until their files change.
        describe: tells the card of a folder of another model family; None for the folders that
            the catalogue describes itself.
    """

    def __init__(
        self,
        extra: Mapping[str, Path] | None = None,
        *,
        shipped: Path = SHIPPED_MODELS,
        models_dir: Path | None = None,
        published: Mapping[str, PublishedModel] = PUBLISHED,
        variants: Mapping[str, LoraVariant] | None = None,
        failed: Callable[[], Mapping[tuple[str, str], str]] | None = None,
        describe: Callable[[str, Path], ModelCard | None] | None = None,
    ):
        self._extra = {name: Path(path) for name, path in (extra or {}).items()}
        self._shipped = shipped
        self._models_dir = models_dir
        self._published = published
        self._variants = dict(variants or {})
        self._inspector = WeightInspector()
        self._loras = LoraInspector(self._inspector)
        self._failed = failed
        self._describe = describe
        self._told: dict[str, str] = {}

    def cards(self) -> tuple[ModelCard, ...]:
        """Every known model, sorted by name; never raises for a broken one."""
        folders = self._folders()
        lora_folders = {name: path for name, path in folders.items() if _is_lora(path)}
        cards = {
            name: self._bounded(name, folder, partial(self._card, name, folder))
            for name, folder in folders.items()
            if name not in lora_folders
        }
        if self._models_dir is not None:
            cards |= {
                name: offered_card(model, self._models_dir / name)
                for name, model in self._published.items()
                if name not in folders
            }
        variants = {
            name: self._bounded(name, path, partial(self._lora_folder_card, name, path, cards))
            for name, path in lora_folders.items()
        }
        for name, variant in self._variants.items():
            path = variant.loras[0].path if variant.loras else Path()
            make = partial(self._variant_card, name, variant, cards)
            variants[name] = self._bounded(name, path, make)
        failed = self._failed() if self._failed is not None else {}
        return tuple(
            replace(card, ready=False, problem=failed[card.name, card.revision])
            if card.ready and (card.name, card.revision) in failed
            else card
            for card in sorted((cards | variants).values(), key=lambda card: card.name)
        )

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

    def _folders(self) -> dict[str, Path]:
        """Folder of each model by its name; those that cannot have one are given one to show."""
        folders = _subfolders(self._shipped)
        if self._models_dir is not None:
            # Other folders that somebody keeps there are not reported as broken models.
            folders |= {
                name: path
                for name, path in _subfolders(self._models_dir).items()
                if _is_model(path) or self._foreign(name, path)
            }
        return folders | self._extra

    def _foreign(self, name: str, folder: Path) -> bool:
        """Return True if a folder is a model of another family, be it a broken one."""
        try:
            return self._describe is not None and self._describe(name, folder) is not None
        except (ModelLoadError, OSError):
            return True

    def _bounded(self, name: str, folder: Path, make: Callable[[], ModelCard]) -> ModelCard:
        """A card, whatever goes wrong with it: one folder must not cost the others."""
        try:
            return make()
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            if self._told.get(name) != text:  # the catalogue is read at every request
                self._told[name] = text
                logger.exception("the model folder %s cannot be read", printable(str(folder)))
            return broken_card(name, folder, f"{folder} cannot be read.", "text-to-video")

    def _card(self, name: str, folder: Path) -> ModelCard:
        try:
            if folder not in self._extra.values():
                check_name(folder)
            if not folder.is_dir():
                raise ModelLoadError(f"The folder {folder} does not exist.")
            if self._describe is not None and (card := self._describe(name, folder)):
                return card
            metadata, found = self._identify(folder)
        except (ModelLoadError, OSError) as error:
            return broken_card(name, folder, error, guess_task(folder))
        return replace(
            ready_card(name, folder, metadata, found.revision),
            weights_revision=found.weights,
            default_steps=found.default_steps,
            max_steps=max(metadata.max_steps, found.default_steps),
        )

    def _identify(self, folder: Path) -> tuple[ModelMetadata, ModelFingerprint]:
        metadata = read_metadata(folder)
        return metadata, self._inspector.identify(folder, metadata)

    def _lora_folder_card(
        self, name: str, folder: Path, models: Mapping[str, ModelCard]
    ) -> ModelCard:
        try:
            if folder not in self._extra.values():
                check_name(folder)
            metadata = read_lora_metadata(folder)
        except (ModelLoadError, OSError) as error:
            return broken_card(name, folder, error, guess_task(folder))
        variant = LoraVariant(metadata.base, (LoraSource(folder, metadata.weight),))
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
            task = guess_task(path) if base is None else base.task
            card = broken_card(name, path, error, task)
            return replace(card, base=printable(variant.base, 80), loras=variant.loras)

    def _with_loras(self, name: str, base: ModelCard, loras: tuple[LoraSource, ...]) -> ModelCard:
        title, licences = base.title, [base.licence]
        for source in loras:
            lora = self._loras.check(
                source, base.name, base.path, base.revision, base.weights_revision
            )
            title += f" + {lora.title} ({source.weight:g})"
            if lora.metadata is not None:
                licences.append(lora.metadata.licence)
        return replace(
            base,
            name=name,
            title=printable(title, TITLE_LENGTH),
            licence=printable(" and ".join(dict.fromkeys(licences)), LICENCE_LENGTH),
            revision=_with_loras(base.revision, loras, self._inspector),
            base=base.name,
            loras=loras,
        )


def current_revision(card: ModelCard, inspector: WeightInspector) -> str:
    """Return the revision of a model as the disk has it now.

    Raises:
        ModelLoadError: it cannot be loaded any more.
    """
    found = inspector.identify(card.path, read_metadata(card.path))
    return _with_loras(found.revision, card.loras, inspector)


def _with_loras(revision: str, loras: tuple[LoraSource, ...], inspector: WeightInspector) -> str:
    if not loras:
        return revision
    overall = hashlib.sha256(revision.encode())
    for source in loras:
        file = lora_file(source.path)
        overall.update(inspector.digest(file) + repr(source.weight).encode())
        # A LoRA's alpha may be stated beside it.
        overall.update(inspector.digest_beside(file.parent / ADAPTER_CONFIG))
    return overall.hexdigest()[:REVISION_LENGTH]


def _subfolders(folder: Path) -> dict[str, Path]:
    """Visible folders in a folder, each by its name, or by what of it can be shown."""
    found: dict[str, Path] = {}
    try:
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        for path in paths:
            if path.is_dir() and not path.name.startswith((".", "_")):
                found.setdefault(printable(path.name, 64), path)
    except OSError as error:
        logger.warning("%s cannot be read: %s", folder, error.strerror or error)
    return found


def _is_model(folder: Path) -> bool:
    return any(_exists(folder / file) for file in (METADATA_FILE, MODEL_INDEX, LORA_METADATA))


def _is_lora(folder: Path) -> bool:
    return _exists(folder / LORA_METADATA) and not _exists(folder / MODEL_INDEX)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # may not be looked into: listed, with that as its problem
        return path.name == METADATA_FILE
