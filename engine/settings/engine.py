"""The engine's settings.

Every setting, its range and its default stand here once. `EngineSettings` has all of them; the
operator's are in sections of their own, which the bot's settings embed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from common.settings import Allowed, Section, StrictBool, StrictFloat, StrictInt
from engine.checkpoints.folder.lora import LoraVariant
from engine.settings.errors import EngineModel, EngineSettingsError
from engine.settings.loading import ModelOptions, Precision

Backend = Literal["local", "ray"]

MAX_HANG_S: Final = 86_400
MAX_QUEUE_CAPACITY: Final = 100_000

_DEVICE: Final = re.compile(r"cpu|mps|cuda(:\d{1,3})?")
_RAY_ADDRESS: Final = re.compile(r"auto|(ray://)?[^\s/@]+:\d{1,5}")


def _check_device(value: str) -> str:
    if not _DEVICE.fullmatch(value):
        raise ValueError(f'{value!r} is none of "cpu", "mps", "cuda", "cuda:0", …')
    return value


def _check_devices(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("name at least one device, or leave it out")
    return value


def _check_ray_address(value: str) -> str:
    if not _RAY_ADDRESS.fullmatch(value):
        raise ValueError(f'{value!r} is none of "auto", "host:port", "ray://…"')
    return value


def _auto_is_none(value: Any) -> Any:
    return None if value == "auto" else value


class WorkerSettings(Section):
    """The workers that render clips: where they run, and what each may take."""

    backend: Backend = "local"
    """Place of the workers: "local", threads on this machine, or "ray", actors on the machines of
    a Ray cluster, for which Ray has to be installed."""

    ray_address: Annotated[
        Annotated[str, AfterValidator(_check_ray_address)] | None,
        Allowed('"auto", "HOST:PORT", "ray://HOST:PORT"', none="automatic"),
    ] = None
    """"auto" for the cluster that this machine is a node of, "host:port" for one by its head's
    address, "ray://host:port" for one that this machine is no node of; None joins the cluster that
    this machine is a node of, or else starts one on it."""

    ray_workers: StrictInt = Field(default=0, ge=0, le=1024)
    """Number of actors; 0 is one for each GPU of the cluster, or one where there is none."""

    devices: Annotated[
        Annotated[
            tuple[Annotated[str, AfterValidator(_check_device)], ...],
            Field(max_length=64),
            AfterValidator(_check_devices),
        ]
        | None,
        Allowed('a list of "cpu", "cuda", "cuda:N" or "mps"', none="automatic"),
    ] = None
    """Torch device names, one worker each; None takes every GPU, else the CPU. Only for the backend
    "local"."""

    threads: Annotated[
        Annotated[StrictInt, Field(ge=1, le=256)] | None, Allowed(none="automatic")
    ] = None
    """CPU threads of a worker; None leaves torch's own choice."""

    max_batch: Annotated[
        Annotated[StrictInt, Field(ge=1, le=64)] | None,
        BeforeValidator(_auto_is_none),
        Allowed(none="automatic"),
    ] = None
    """Clips of one batch at most; None is one on a CPU, where more gain little, and on a GPU what
    its free memory allows, up to 8. A number is obeyed on a CPU, and on a GPU as far as memory
    allows."""

    model_memory_gb: Annotated[
        Annotated[StrictFloat, Field(ge=0.001, le=100_000)] | None, Allowed(none="automatic")
    ] = None
    """GB (10^9 bytes) that loaded models may take on each device; beyond it the least recently used
    are evicted. None: on a GPU all but a quarter of its memory as far as it is free, on a CPU half
    of the machine's."""

    hang_after_s: StrictFloat = Field(default=300.0, ge=0.1, le=MAX_HANG_S)
    """A worker without a heartbeat for this many seconds has hung: the job fails, and another
    thread goes on. Phases that usually take long are given 20 times their usual time, and what has
    never been done before six times this."""


class IntakeLimits(Section):
    """Limits on what a job is made of, and on the disk space that it needs."""

    max_image_pixels: StrictInt = Field(default=25_000_000, ge=4096, le=200_000_000)
    """Pictures with more pixels are refused before they are decoded."""

    min_free_mb: StrictInt = Field(default=256, ge=0, le=1_000_000)
    """A job fails at once when less disk space (MiB) than this is free."""


class ClipSettings(Section):
    """The files of finished clips."""

    prompt_in_metadata: StrictBool = True
    """Write prompt and negative prompt into a clip's own metadata; the JSON beside it always has
    them."""


class EngineSettings(WorkerSettings, IntakeLimits, ClipSettings, EngineModel):
    """All settings of the engine.

    Raises:
        EngineSettingsError: a value is outside its range.
    """

    output_dir: Path
    """Clips go to `<output_dir>/<YYYY-MM>/<job_id>.mp4`; made when missing."""

    models_dir: Path | None = None
    """The folder of installed models; None: there is none."""

    model_dirs: Mapping[str, Path] = Field(default_factory=dict)
    """Further models, name to folder."""

    model_variants: Mapping[str, LoraVariant] = Field(default_factory=dict)
    """Models with LoRAs, by the names they shall have."""

    model_options: Mapping[str, ModelOptions] = Field(default_factory=dict)
    """Load options of single models, by their names; the others have the defaults, and a variant
    those of its base model."""

    precision: Precision = "auto"
    """Number format of the weights; "auto" is float32 on a CPU, bfloat16 on a GPU that has it, else
    float16."""

    queue_capacity: StrictInt = Field(default=64, ge=1, le=MAX_QUEUE_CAPACITY)
    """Jobs that may wait; one more is refused."""

    previews_per_job: StrictInt = Field(default=4, ge=0, le=20)
    """At most about so many previews; 0 turns them off."""

    crf: StrictInt = Field(default=16, ge=0, le=51)
    """H.264 quality, 0 (lossless) to 51; about 17 is visually lossless."""

    min_short_side: StrictInt = Field(default=320, ge=2, le=2160)
    """Smaller clips are enlarged by a whole factor until their short side has at least so many
    pixels."""

    private_files: StrictBool = False
    """Make clips and what is written beside them readable for this user only, instead of what the
    process's umask says."""

    @model_validator(mode="after")
    def _check_devices_and_backend(self) -> Self:
        if self.devices is None:
            return self
        if self.backend == "ray":
            raise EngineSettingsError(
                "devices", 'only for the backend "local"; with "ray" every worker has one GPU'
            )
        if len(set(self.devices)) < len(self.devices):
            raise EngineSettingsError("devices", "every device may be named once only")
        return self

    def options_of(self, model: str) -> ModelOptions:
        """Return the load options of a model; precision "auto" becomes that of the engine."""
        options = self.model_options.get(model)
        if options is None and model in self.model_variants:
            options = self.model_options.get(self.model_variants[model].base)
        options = options or ModelOptions()
        if options.precision == "auto":
            options = options.model_copy(update={"precision": self.precision})
        return options
