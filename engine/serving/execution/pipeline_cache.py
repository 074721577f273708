"""Loaded models that a worker keeps."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from common.out_of_memory import is_out_of_memory
from engine.checkpoints.catalog import ModelCard
from engine.checkpoints.errors import ModelChangedError, ModelLoadError
from engine.serving.backends import BackendRegistry, VideoModel, default_backends
from engine.serving.backends.base import BeforePart
from engine.serving.backends.options import low_memory_options, usable_options
from engine.serving.execution.broken_models import BrokenModels
from engine.serving.execution.model_memory import model_budget, release_memory
from engine.serving.status import LoadedModel
from engine.settings import ModelOptions

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Kept:
    card: ModelCard
    options: ModelOptions
    model: VideoModel

    @property
    def resident(self) -> bool:
        """True when the weights lie on the device."""
        return self.options.offload == "none"


class PipelineCache:
    """The loaded models of one device: loaded when first needed, then kept as memory allows.

    When the budget is used up, the least recently used ones are evicted; a model that
    is larger than the budget has it for itself. A model of which anything has changed on disk is
    loaded again, and one that could not be loaded is only tried again when its files have changed
    or a minute has passed. When memory runs out while a model is loaded, the others are evicted and
    it is tried once more. A model that is offloaded needs the device for itself: those that lie
    there are evicted before it is used.

    Args:
        device: a torch device name.
        options_of: tells from a model's name how it is loaded.
        memory_gb: the budget in GB; None for what is sensible, see `model_budget`.
        clock: seconds that never run backwards.
        backends: the model families.
    """

    def __init__(
        self,
        device: str,
        options_of: Callable[[str], ModelOptions],
        memory_gb: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        backends: BackendRegistry | None = None,
    ) -> None:
        self._device = device
        self._options_of = options_of
        self._memory_gb = memory_gb
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._broken = BrokenModels(clock)
        self._backends = backends or default_backends()

    @property
    def device(self) -> str:
        """The torch device's name."""
        return self._device

    def get(
        self, card: ModelCard, before_part: BeforePart | None = None, *, low_memory: bool = False
    ) -> VideoModel:
        """Return a model, which is loaded if need be.

        Args:
            card: the model.
            before_part: called before each network that is loaded; what it raises ends the call.
            low_memory: set up in the way that needs least memory, whatever its options say.

        Raises:
            ModelChangedError: its files are no longer those that the card was made of.
            ModelLoadError: it cannot be loaded.
        """
        if not card.ready:
            raise ModelLoadError(f"The model {card.name} is not ready: {card.problem}")
        options = self._options(card, low_memory=low_memory)
        if options.offload != "none":
            self._evict([name for name, _ in self._sizes(resident=True)])
        kept = self._kept.get(card.name)
        if kept is not None and not _still_fits(kept, card, options):
            kept = None
            self._evict([card.name])
        if kept is None:
            kept = self._load(card, options, before_part)
        kept.model.configure(options)
        self._kept[card.name] = replace(kept, options=options)
        self._kept.move_to_end(card.name)
        return kept.model

    def has_room_for(self, card: ModelCard) -> bool:
        """Return True if a model can be kept beside all that are loaded.

        Raises:
            ModelLoadError: its files are missing or damaged.
        """
        options = self._options(card)
        needed = self._weight_bytes(card, options)
        resident = options.offload == "none"
        loaded = self._loaded_bytes(resident=resident)
        return loaded + needed <= self._budget(resident=resident)

    def keep_only(self, card: ModelCard) -> None:
        """Evict every other model, for memory has run out."""
        self._evict([name for name in self._kept if name != card.name])
        release_memory()

    def missing_bytes(self, card: ModelCard) -> int:
        """Return the bytes of the device that a model's weights will take beyond the present."""
        options = self._options(card)
        if card.name in self._kept or options.offload != "none":
            return 0
        return self._weight_bytes(card, options)

    @property
    def loaded(self) -> tuple[LoadedModel, ...]:
        """The models that are kept, least recently used first. For any thread."""
        # A copy at once: the owning thread may change the order meanwhile.
        return tuple(
            LoadedModel(name=kept.card.name, revision=kept.card.revision, bytes=kept.model.bytes)
            for kept in list(self._kept.values())
        )

    @property
    def broken(self) -> Mapping[str, str]:
        """Models that could not be loaded the last time, and why. For any thread."""
        return self._broken.reasons

    @property
    def broken_revisions(self) -> Mapping[str, str]:
        """Models that are not worth another try yet, and their revisions. For any thread."""
        return self._broken.revisions

    def clear(self) -> None:
        """Evict every model and give its memory back."""
        self._kept.clear()
        release_memory()

    def _options(self, card: ModelCard, *, low_memory: bool = False) -> ModelOptions:
        options = usable_options(self._options_of(card.name), self._device)
        return low_memory_options(options, self._device) if low_memory else options

    def _load(
        self, card: ModelCard, options: ModelOptions, before_part: BeforePart | None
    ) -> _Kept:
        with self._broken.attempt(card):
            self._check_unchanged(card)
            self._make_room(card, options)
            model = self._load_beside_others(card, options, before_part)
            self._check_unchanged(card)  # while it was read
        return _Kept(card, options, model)

    def _check_unchanged(self, card: ModelCard) -> None:
        """Raise if a clip would be made by another model than is written beside it."""
        if not card.revision:
            return
        changed = f"The files of the model {card.name} have changed since the clip was asked for"
        try:
            current = self._backends.of(card).revision(card)
        except ModelLoadError as error:
            raise ModelChangedError(f"{changed}: {error}") from error
        if current != card.revision:
            raise ModelChangedError(f"{changed}: they are {current}, not {card.revision}.")

    def _load_beside_others(
        self, card: ModelCard, options: ModelOptions, before_part: BeforePart | None
    ) -> VideoModel:
        logger.info("loading %s (%s) on %s", card.name, card.revision, self._device)
        try:
            return self._load_once(card, options, before_part)
        except (RuntimeError, MemoryError) as error:
            if not (is_out_of_memory(error) and self._kept):
                raise
        logger.warning("no memory for %s beside the loaded models; dropping those", card.name)
        self.clear()
        return self._load_once(card, options, before_part)

    def _load_once(
        self, card: ModelCard, options: ModelOptions, before_part: BeforePart | None
    ) -> VideoModel:
        backend = self._backends.of(card)
        if card.loras and not backend.supports(card).lora:
            raise ModelLoadError(f"{card.name}: models of its family take no LoRAs.")
        return backend.load(card, self._device, options, before_part or _nothing_before)

    def _make_room(self, card: ModelCard, options: ModelOptions) -> None:
        """Evict the least recently used models, until this one has room."""
        resident = options.offload == "none"
        needed = self._weight_bytes(card, options)
        loaded = self._loaded_bytes(resident=resident)
        budget = self._budget(resident=resident)
        leaving: list[str] = []
        for name, size in self._sizes(resident=resident):
            if loaded + needed <= budget:
                break
            leaving.append(name)
            loaded -= size
        self._evict(leaving)
        if loaded + needed > budget:
            logger.warning(
                "%s takes %.1f GB, more than the %.1f GB that models may take on %s",
                card.name,
                needed / 1e9,
                budget / 1e9,
                self._device,
            )

    def _budget(self, *, resident: bool) -> int:
        if resident:
            loaded = self._loaded_bytes(resident=True)
            return model_budget(self._device, self._memory_gb, loaded)
        return model_budget("cpu", None, self._loaded_bytes(resident=False))

    def _sizes(self, *, resident: bool) -> list[tuple[str, int]]:
        """Names and bytes, those that have not been used for longest first."""
        kept = self._kept.items()
        return [(name, one.model.bytes) for name, one in kept if one.resident == resident]

    def _loaded_bytes(self, *, resident: bool) -> int:
        return sum(size for _, size in self._sizes(resident=resident))

    def _weight_bytes(self, card: ModelCard, options: ModelOptions) -> int:
        return self._backends.of(card).weight_bytes(card, self._device, options)

    def _evict(self, names: Sequence[str]) -> None:
        for name in names:
            logger.info("dropping %s on %s", name, self._device)
            del self._kept[name]
        if names:
            release_memory()


def _nothing_before(part: str) -> None:
    """Let every part be loaded."""


def _still_fits(kept: _Kept, card: ModelCard, options: ModelOptions) -> bool:
    """Return True if a loaded model is as wanted, or can be switched to that."""
    if kept.card.revision != card.revision:
        return False
    unswitchable = (options.precision, options.offload, options.compile)
    return unswitchable == (kept.options.precision, kept.options.offload, kept.options.compile)
