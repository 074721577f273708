"""The settings of the engine and of prompt expansion, from those of the bot."""

from __future__ import annotations

from typing import Any

from bot.settings import Settings
from common.settings import Section
from engine.checkpoints import LoraSource, LoraVariant
from engine.settings import (
    MAX_QUEUE_CAPACITY,
    ClipSettings,
    EngineSettings,
    IntakeLimits,
    WorkerSettings,
)
from prompt_expansion import ExpansionSettings
from prompt_expansion.settings import ServerSettings


def engine_settings(settings: Settings) -> EngineSettings:
    """Return the settings that the engine is started with. Raises EngineSettingsError."""
    return EngineSettings(
        **_shared(WorkerSettings, settings.engine),
        **_shared(IntakeLimits, settings.limits),
        **_shared(ClipSettings, settings.clips),
        output_dir=settings.output_dir,
        models_dir=settings.models_dir,
        model_dirs=settings.models.extra,
        model_options=settings.models.options,
        model_variants={
            name: LoraVariant(lora.base, (LoraSource(lora.path, lora.weight),))
            for name, lora in settings.models.loras.items()
        },
        # Jobs are refused before they are stored, by the limits; never after.
        queue_capacity=MAX_QUEUE_CAPACITY,
        private_files=True,
    )


def expansion_settings(settings: Settings) -> ExpansionSettings:
    """Return the settings that the expander is made with. Raises ExpansionSettingsError."""
    return ExpansionSettings(**_shared(ServerSettings, settings.expansion))


def _shared(kind: type[Section], section: Section) -> dict[str, Any]:
    """Return what a section has of the fields of a section that it extends."""
    return {name: getattr(section, name) for name in kind.model_fields}
