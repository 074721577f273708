"""`floor33.json`: the metadata of a model folder.

It lies beside `model_index.json` and holds what neither the weights nor the component configs
say: the sizes, rates and samplers the model was made for, and its licence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from common.validation import first_fault
from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.folder.json_reader import read_object
from engine.checkpoints.folder.reading import check_inside

METADATA_FILE = "floor33.json"

Task = Literal["text-to-video", "image-to-video"]
Pixels = Annotated[int, Field(ge=8, le=4096, multiple_of=8)]
FramesPerSecond = Annotated[int, Field(ge=1, le=120)]
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""Names that a model can be asked for by."""

_NOT_TECHNICAL = {"name", "title", "licence", "origin", "made_from"}


class Origin(BaseModel):
    """Origin of the weights: one file in one commit of a hub repository.

    `sha256` is that of the file, in lower-case hex digits; `revision` is the commit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hub_repo: Annotated[str, Field(min_length=1)]
    file: Annotated[str, Field(min_length=1)]
    revision: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class AddedLora(BaseModel):
    """A LoRA that was merged into a model; `sha256` is that of its file, in hex digits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: Annotated[str, Field(min_length=1)]
    weight: float
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class MadeFrom(BaseModel):
    """The model, by name and revision of its weights, and the LoRAs that were merged into one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(min_length=1)]
    revision: Annotated[str, Field(min_length=1)]
    loras: tuple[AddedLora, ...]


class ModelMetadata(BaseModel):
    """The contents of `floor33.json`, validated.

    Sizes are pixels, `fps` frames per second, `guidance` the classifier-free guidance scale
    (1 is no guidance). `fps` are the labels that the network knows, and clips play at the label
    they were asked for unless `playback_fps` states another rate: a released model takes 28 for
    calm movement, and its 16 frames would be over in half a second. `sizes` lists further
    (width, height) pairs beside the native one; `scheduler` is a name that
    `engine.schedulers.make_scheduler` knows. `origin` is stated by models that were installed
    from the hub, `made_from` by those with merged LoRAs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    title: Annotated[str, Field(min_length=1, max_length=80)]
    task: Task
    width: Pixels
    height: Pixels
    sizes: tuple[tuple[Pixels, Pixels], ...] = ()
    num_frames: Annotated[int, Field(ge=1, le=1024)]
    fps: Annotated[tuple[FramesPerSecond, ...], Field(min_length=1)]
    default_fps: FramesPerSecond
    playback_fps: FramesPerSecond | None = None
    default_steps: Annotated[int, Field(ge=1, le=1000)]
    max_steps: Annotated[int, Field(ge=1, le=1000)] = 100
    default_guidance: Annotated[float, Field(ge=1.0, le=100.0)]
    max_guidance: Annotated[float, Field(ge=1.0, le=100.0)] = 20.0
    scheduler: Annotated[str, Field(min_length=1)]
    licence: Annotated[str, Field(min_length=1)]
    origin: Origin | None = None
    made_from: MadeFrom | None = None

    @property
    def technical(self) -> bytes:
        """Serialise what clips depend on, in one form however the file is written."""
        return self.model_dump_json(exclude=_NOT_TECHNICAL).encode()

    @model_validator(mode="after")
    def _defaults_lie_inside_the_ranges(self) -> Self:
        if self.default_fps not in self.fps:
            raise ValueError(f"default_fps {self.default_fps} is not one of fps {list(self.fps)}")
        if self.default_steps > self.max_steps:
            raise ValueError(
                f"default_steps {self.default_steps} exceeds max_steps {self.max_steps}"
            )
        if self.default_guidance > self.max_guidance:
            raise ValueError(
                f"default_guidance {self.default_guidance} exceeds max_guidance {self.max_guidance}"
            )
        return self


def read_metadata(folder: Path) -> ModelMetadata:
    """Read and check a folder's `floor33.json`.

    Raises:
        ModelLoadError: the file is missing, no JSON, or states something impossible; the text
            names the key.
    """
    path = folder / METADATA_FILE
    check_inside(path, folder)
    raw = read_object(path)
    try:
        return ModelMetadata.model_validate(raw)
    except ValidationError as error:
        raise ModelLoadError(f"{path}: {first_fault(error)}.") from error


# The earlier names, kept for one release.
FACTS_FILE = METADATA_FILE
ModelFacts = ModelMetadata
read_facts = read_metadata
