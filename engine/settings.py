"""The engine's settings: every one, its range, its default and its meaning, written once.

`EngineSettings` has all of them; the operator's are in sections of their own, which the bot's
settings embed. No model framework is imported, so that every command can read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, Strict, StringConstraints, model_validator

from common.settings import (
    Allowed,
    Section,
    SettingsModel,
    StrictBool,
    StrictFloat,
    StrictInt,
    allowed_words,
    bounds_of,
    choices_of,
    kinds_of,
)
from engine.checkpoints.folder.lora import LoraVariant
from engine.errors import EngineError

Backend = Literal["local", "ray"]
Precision = Literal["auto", "float32", "float16", "bfloat16"]
Offload = Literal["none", "model", "group"]
AttentionChoice = Literal["sdpa", "sliced"]
Device = Annotated[str, StringConstraints(pattern=r"^(cpu|mps|cuda(:\d{1,3})?)$")]

MAX_HANG_S: Final = 86_400
MAX_QUEUE_CAPACITY: Final = 100_000

_AUTOMATIC: Final = Allowed(none="automatic")


class EngineSettingsError(EngineError, ValueError):
    """A value of the engine's settings is wrong.

    Attributes:
        key: the setting.
        message: what is wrong with its value.
    """

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        self.message = message
        super().__init__(f"{key}: {message}")


class EngineModel(SettingsModel):
    """Settings of the engine: a value that is not allowed raises EngineSettingsError."""

    @classmethod
    def refusal(cls, key: str, fault: Mapping[str, Any]) -> EngineSettingsError:
        """Name the setting, its value and what is allowed."""
        field, value = cls.model_fields.get(key), fault["input"]
        if field is None:
            return EngineSettingsError(key, "is no setting of this name")
        match fault["type"]:
            case "missing":
                message = "is missing"
            case "too_short":
                message = "name at least one, or leave it out"
            case "string_pattern_mismatch":
                message = f"{value!r} is none of {allowed_words(field).removeprefix('a list of ')}"
            case _ if choices := choices_of(field):
                message = f"{value!r} is none of {', '.join(choices)}"
            case _ if bool in kinds_of(field):
                message = f"{value!r} is neither true nor false"
            case _ if bounds_of(field):
                message = f"{value!r} is no {allowed_words(field).removeprefix('a ')}"
            case _:
                message = f"{value!r} is not allowed: {fault['msg']}"
        return EngineSettingsError(key, message)


class ModelOptions(EngineModel):
    """Load options of a model. The defaults are the fastest; what each saves is in docs/memory.md.

    Raises:
        EngineSettingsError: a value that is not allowed, or compile together with offload.
    """

    precision: Precision = "auto"
    """Number format of the weights; "auto" leaves it to the engine's own setting."""
    offload: Offload = "none"
    """Place of the weights while they wait. "none": all of them on the device. "model": in main
    memory, and one network at a time on the device. "group": in main memory, and one layer at a
    time on the device. Needs a GPU."""
    vae_tiling: StrictBool = False
    """Decode frames of more than 512 x 512 pixels in overlapping tiles that are blended, which
    changes the frames slightly."""
    vae_slicing: StrictBool = False
    """Decode one frame at a time, whatever its size."""
    attention: AttentionChoice = "sdpa"
    """"sliced" computes attention for a few positions at a time."""
    compile: Annotated[
        StrictBool, Allowed('true or false; true only together with offload = "none"')
    ] = False
    """Let torch compile the UNet at its first use: minutes once, then faster. Needs a GPU and all
    weights on it."""

    @model_validator(mode="after")
    def _compile_or_offload(self) -> Self:
        if self.compile and self.offload != "none":
            raise EngineSettingsError("compile", f'cannot go with offload = "{self.offload}"')
        return self


class WorkerSettings(Section):
    """The workers that render clips: where they run, and what each may take."""

    backend: Backend = "local"
    """Place of the workers: "local", threads on this machine, or "ray", actors on the machines of
    a Ray cluster, for which Ray has to be installed."""
    ray_address: Annotated[
        str | None,
        StringConstraints(pattern=r"^(auto|(ray://)?[^\s/@]+:\d{1,5})$"),
        Allowed('"auto", "HOST:PORT", "ray://HOST:PORT"', none="automatic"),
    ] = None
    """"auto" for the cluster that this machine is a node of, "HOST:PORT" for one by its head's
    address, "ray://HOST:PORT" for one that this machine is no node of; None joins the cluster that
    this machine is a node of, or else starts one on it."""
    ray_workers: StrictInt = Field(default=0, ge=0, le=1024)
    """Number of actors; 0 is one for each GPU of the cluster, or one where there is none."""
    devices: Annotated[
        tuple[Device, ...] | None,
        Field(min_length=1, max_length=64),
        Allowed('a list of "cpu", "cuda", "cuda:N" or "mps"', none="automatic"),
    ] = None
    """Torch device names, one worker each; None takes every GPU, else the CPU. Only for the backend
    "local"."""
    threads: Annotated[int | None, Strict(), Field(ge=1, le=256), _AUTOMATIC] = None
    """CPU threads of a worker; None leaves torch's own choice."""
    max_batch: Annotated[
        int | None,
        Strict(),
        Field(ge=1, le=64),
        BeforeValidator(lambda value: None if value == "auto" else value),
        _AUTOMATIC,
    ] = None
    """Clips of one batch at most; None is one on a CPU, where more gain little, and on a GPU what
    its free memory allows, up to 8. A number is obeyed on a CPU, and on a GPU as far as memory
    allows."""
    model_memory_gb: Annotated[float | None, Strict(), Field(ge=0.001, le=100_000), _AUTOMATIC] = (
        None
    )
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
        if self.devices is not None and self.backend == "ray":
            raise EngineSettingsError(
                "devices", 'only for the backend "local"; with "ray" every worker has one GPU'
            )
        if self.devices is not None and len(set(self.devices)) < len(self.devices):
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
