"""The engine's settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import get_args

from engine.checkpoints.lora import LoraVariant
from engine.serving.errors import EngineSettingsError
from engine.serving.options import ModelOptions, Precision

_DEVICE = re.compile(r"cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How the engine runs.

    Attributes:
        output_dir: clips go to ``<output_dir>/<YYYY-MM>/<job_id>.mp4``; made when missing.
        devices: torch device names, one worker each; None takes every GPU, else the CPU.
        model_dirs: further models, name to folder.
        models_dir: the folder of installed models; None: there is none.
        model_variants: models with LoRAs, by the names they shall have.
        model_options: how single models are loaded, by their names; the others with the defaults,
            and a variant as its base model.
        threads: CPU threads of a worker; None leaves torch's own choice.
        precision: number format of the weights; "auto" is float32 on a CPU, bfloat16 on a GPU
            that has it, else float16.
        queue_capacity: jobs that may wait; one more is refused.
        previews_per_job: at most about so many previews; 0 turns them off.
        crf: H.264 quality, 0 (lossless) to 51; about 17 is visually lossless.
        min_short_side: smaller clips are enlarged by a whole factor until their short side has at
            least so many pixels.
        min_free_mb: a job fails at once when less disk space (MiB) than this is free.
        max_image_pixels: pictures with more pixels are refused before they are decoded.

    Raises:
        EngineSettingsError: a value is outside its range.
    """

    output_dir: Path
    devices: tuple[str, ...] | None = None
    model_dirs: Mapping[str, Path] = field(default_factory=dict)
    models_dir: Path | None = None
    model_variants: Mapping[str, LoraVariant] = field(default_factory=dict)
    model_options: Mapping[str, ModelOptions] = field(default_factory=dict)
    threads: int | None = None
    precision: Precision = "auto"
    queue_capacity: int = 64
    previews_per_job: int = 4
    crf: int = 16
    min_short_side: int = 320
    min_free_mb: int = 256
    max_image_pixels: int = 25_000_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "model_dirs", MappingProxyType(dict(self.model_dirs)))
        object.__setattr__(self, "model_variants", MappingProxyType(dict(self.model_variants)))
        object.__setattr__(self, "model_options", MappingProxyType(dict(self.model_options)))
        if self.devices is not None:
            if not self.devices:
                raise EngineSettingsError("devices", "name at least one device, or leave it out")
            if len(set(self.devices)) < len(self.devices):
                raise EngineSettingsError("devices", "every device may be named once only")
            for device in self.devices:
                if not _DEVICE.fullmatch(device):
                    raise EngineSettingsError(
                        "devices", f'{device!r} is none of "cpu", "mps", "cuda", "cuda:0", …'
                    )
        if self.precision not in get_args(Precision):
            allowed = ", ".join(get_args(Precision))
            raise EngineSettingsError("precision", f"{self.precision!r} is none of {allowed}")
        if self.threads is not None:
            self._check_range("threads", 1, 256)
        self._check_range("queue_capacity", 1, 100_000)
        self._check_range("previews_per_job", 0, 20)
        self._check_range("crf", 0, 51)
        self._check_range("min_short_side", 2, 2160)
        self._check_range("min_free_mb", 0, 1_000_000)
        self._check_range("max_image_pixels", 4096, 200_000_000)

    def options_of(self, model: str) -> ModelOptions:
        """How a model is loaded; where its precision is "auto", with that of the engine."""
        options = self.model_options.get(model)
        if options is None and model in self.model_variants:
            options = self.model_options.get(self.model_variants[model].base)
        options = options or ModelOptions()
        if options.precision == "auto":
            options = replace(options, precision=self.precision)
        return options

    def _check_range(self, key: str, low: int, high: int) -> None:
        value = getattr(self, key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise EngineSettingsError(key, f"{value!r} is no whole number from {low} to {high}")
