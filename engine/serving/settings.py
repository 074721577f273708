"""The engine's settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from engine.checkpoints.folder.lora import LoraVariant
from engine.serving.errors import EngineSettingsError
from engine.serving.load_options import ModelOptions, Precision

Backend = Literal["local", "ray"]

_DEVICE = re.compile(r"cpu|mps|cuda(:\d+)?")
_RAY_ADDRESS = re.compile(r"auto|(ray://)?[^\s/@]+:\d{1,5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How the engine runs.

    Attributes:
        output_dir: clips go to ``<output_dir>/<YYYY-MM>/<job_id>.mp4``; made when missing.
        backend: where the workers are: "local", threads on this machine, or "ray", actors on the
            machines of a Ray cluster, for which Ray has to be installed.
        ray_address: "auto" for the cluster that this machine is a node of, "host:port" for one by
            its head's address, "ray://host:port" for one that this machine is no node of; None
            joins the cluster that this machine is a node of, or else starts one on it.
        ray_workers: how many actors there are; 0 is one for each GPU of the cluster, or one where
            there is none.
        devices: torch device names, one worker each; None takes every GPU, else the CPU. Only for
            the backend "local".
        model_dirs: further models, name to folder.
        models_dir: the folder of installed models; None: there is none.
        model_variants: models with LoRAs, by the names they shall have.
        model_options: how single models are loaded, by their names; the others with the defaults,
            and a variant as its base model.
        threads: CPU threads of a worker; None leaves torch's own choice.
        precision: number format of the weights; "auto" is float32 on a CPU, bfloat16 on a GPU
            that has it, else float16.
        max_batch: clips of one batch at most; "auto" is one on a CPU, where more gain little, and
            on a GPU what its free memory allows, up to 8. A whole number from 1 to 64 is obeyed on
            a CPU, and on a GPU as far as memory allows.
        model_memory_gb: GB (10^9 bytes) that loaded models may take on each device; beyond it those
            that have not been used for longest are let go. None: on a GPU all but a quarter of its
            memory as far as it is free, on a CPU half of the machine's.
        hang_after_s: a worker that has given no sign of life for so many seconds has hung: the job
            fails, and another thread goes on. Phases that usually take long are given 20 times
            their usual time, and what has never been done before six times ``hang_after_s``.
        queue_capacity: jobs that may wait; one more is refused.
        previews_per_job: at most about so many previews; 0 turns them off.
        crf: H.264 quality, 0 (lossless) to 51; about 17 is visually lossless.
        min_short_side: smaller clips are enlarged by a whole factor until their short side has at
            least so many pixels.
        private_files: whether clips and what is written beside them are for this user only,
            instead of what the process's umask says.
        min_free_mb: a job fails at once when less disk space (MiB) than this is free.
        max_image_pixels: pictures with more pixels are refused before they are decoded.
        prompt_in_metadata: whether a clip's own metadata hold its prompt and negative prompt; the
            JSON beside it always does.

    Raises:
        EngineSettingsError: a value is outside its range.
    """

    output_dir: Path
    backend: Backend = "local"
    ray_address: str | None = None
    ray_workers: int = 0
    devices: tuple[str, ...] | None = None
    model_dirs: Mapping[str, Path] = field(default_factory=dict)
    models_dir: Path | None = None
    model_variants: Mapping[str, LoraVariant] = field(default_factory=dict)
    model_options: Mapping[str, ModelOptions] = field(default_factory=dict)
    threads: int | None = None
    precision: Precision = "auto"
    max_batch: int | Literal["auto"] = "auto"
    model_memory_gb: float | None = None
    hang_after_s: float = 300.0
    queue_capacity: int = 64
    previews_per_job: int = 4
    crf: int = 16
    min_short_side: int = 320
    private_files: bool = False
    min_free_mb: int = 256
    max_image_pixels: int = 25_000_000
    prompt_in_metadata: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "model_dirs", MappingProxyType(dict(self.model_dirs)))
        object.__setattr__(self, "model_variants", MappingProxyType(dict(self.model_variants)))
        object.__setattr__(self, "model_options", MappingProxyType(dict(self.model_options)))
        self._check_backend()
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
        if self.max_batch != "auto":
            self._check_range("max_batch", 1, 64)
        if self.model_memory_gb is not None:
            self._check_number("model_memory_gb", 0.001, 100_000)
        self._check_number("hang_after_s", 0.1, 86_400)
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

    def _check_backend(self) -> None:
        if self.backend not in get_args(Backend):
            allowed = ", ".join(get_args(Backend))
            raise EngineSettingsError("backend", f"{self.backend!r} is none of {allowed}")
        if self.backend == "ray" and self.devices is not None:
            raise EngineSettingsError(
                "devices", 'only for the backend "local"; with "ray" every worker has one GPU'
            )
        if self.ray_address is not None and not _RAY_ADDRESS.fullmatch(self.ray_address):
            raise EngineSettingsError(
                "ray_address", f'{self.ray_address!r} is none of "auto", "host:port", "ray://…"'
            )
        self._check_range("ray_workers", 0, 1024)

    def _check_number(self, key: str, low: float, high: float) -> None:
        value = getattr(self, key)
        valid = isinstance(value, int | float) and not isinstance(value, bool)
        if not valid or not low <= value <= high:
            raise EngineSettingsError(key, f"{value!r} is no number from {low:g} to {high:g}")

    def _check_range(self, key: str, low: int, high: int) -> None:
        value = getattr(self, key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise EngineSettingsError(key, f"{value!r} is no whole number from {low} to {high}")
