"""The bot's settings in the words of the engine and of prompt expansion."""

from __future__ import annotations

from typing import Final

from bot.settings import Settings
from engine.checkpoints import LoraSource, LoraVariant
from engine.serving import EngineSettings, ModelOptions
from prompt_expansion import ExpansionSettings

MAX_QUEUE: Final = 100_000


def engine_settings(settings: Settings) -> EngineSettings:
    """Return the settings that the engine is started with. Raises EngineSettingsError."""
    return EngineSettings(
        output_dir=settings.output_dir,
        backend=settings.engine.backend,
        ray_address=settings.engine.ray_address,
        ray_workers=settings.engine.ray_workers,
        devices=settings.engine.devices,
        threads=settings.engine.threads,
        max_batch=settings.engine.max_batch or "auto",
        model_memory_gb=settings.engine.model_memory_gb,
        hang_after_s=float(settings.engine.hang_after_s),
        # Jobs are refused before they are stored, by the limits; never after.
        queue_capacity=MAX_QUEUE,
        model_dirs=settings.models.extra,
        model_options={
            name: ModelOptions(**options.model_dump())
            for name, options in settings.models.options.items()
        },
        models_dir=settings.models_dir,
        model_variants={
            name: LoraVariant(lora.base, (LoraSource(lora.path, lora.weight),))
            for name, lora in settings.models.loras.items()
        },
        max_image_pixels=settings.limits.max_image_pixels,
        private_files=True,
        min_free_mb=settings.limits.min_free_mb,
        prompt_in_metadata=settings.clips.prompt_in_metadata,
    )


def expansion_settings(settings: Settings) -> ExpansionSettings:
    """Return the settings that the expander is made with. Raises ExpansionSettingsError."""
    wanted = settings.expansion
    key = wanted.api_key
    return ExpansionSettings(
        backend=wanted.backend,
        base_url=wanted.base_url,
        model=wanted.model,
        api_key=None if key is None else key.get_secret_value(),
        timeout_s=wanted.timeout_s,
        max_tokens=wanted.max_tokens,
    )
