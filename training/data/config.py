"""The data sections of a recipe, validated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SetKind = Literal["auto", "csv", "folder", "shards", "procedural"]

PositiveInt = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Side = Annotated[int, Field(ge=16, le=8192, multiple_of=8)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSetConfig(_Section):
    """One data set on disk, or the procedural one."""

    path: Path | None = None
    """CSV file, folder, or folder of ``.tar`` shards; the procedural set has none."""
    kind: SetKind = "auto"
    media: Path | None = None
    """Folder that a CSV's paths start from (default: the CSV's own)."""
    allow_outside: bool = False
    """Read also files outside the media folder (of a folder or shards: outside `path`), where a
    table names them or a link leads there."""
    index_cache: Path | None = None
    """Folder that keeps the list of each shard's members; without it shards are listed anew."""
    missing_caption: Literal["skip", "empty"] = "skip"
    """Leave out samples without a caption, or train on them with the empty one."""
    count: PositiveInt = 6144
    """Clips of the procedural set; other sets are as large as they are."""

    @model_validator(mode="after")
    def _path_where_needed(self) -> DataSetConfig:
        if (self.path is None) != (self.kind == "procedural"):
            raise ValueError('path is needed, except for kind = "procedural", which takes none')
        return self


class ResolutionConfig(_Section):
    """The size of batches in pixels; progressive training raises it from recipe to recipe."""

    width: Side
    height: Side
    buckets: bool = True
    """Sort samples by aspect into sizes of about the same area; otherwise crop all to one."""
    multiple: Annotated[int, Field(ge=8, le=512, multiple_of=8)] = 64
    """Bucket sides are multiples of this many pixels."""
    max_aspect: Annotated[float, Field(ge=1.0, le=4.0)] = 2.0
    """Long over short side of the narrowest bucket."""
    max_enlargement: Annotated[float, Field(ge=1.0)] = 1.25
    """Samples that would have to be enlarged by more are left out."""
    crop: Literal["centre", "random"] = "centre"


class WindowConfig(_Section):
    """Settings for drawing a window of frames from a clip."""

    frames: PositiveInt = 16
    min_stride: PositiveInt = 1
    max_stride: PositiveInt = 6
    """Every stride-th frame is taken, the stride drawn uniformly up to what the clip allows.

    The fps label is the native rate over the stride.
    """
    fps_jitter: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    """Largest relative change of the label, so that rates between the usual ones are seen."""
    cut_threshold: Share = 0.1
    """Mean change of pixels, of 1, from which two frames may lie in different scenes; 0: never."""
    tries: PositiveInt = 3
    """Windows drawn from a clip with hard cuts before it is left out."""

    @model_validator(mode="after")
    def _strides_in_order(self) -> WindowConfig:
        if self.min_stride > self.max_stride:
            raise ValueError(f"min_stride {self.min_stride} is above max_stride {self.max_stride}")
        return self


class DataConfig(_Section):
    """Everything a joint training on clips and pictures reads."""

    clips: DataSetConfig
    pictures: DataSetConfig | None = None
    """Data set of the pictures (default: single frames of the clips)."""
    resolution: ResolutionConfig
    window: WindowConfig = WindowConfig()
    picture_share: Share = 0.0625
    """Share of the steps that train on pictures (label 0)."""
    picture_batch: PositiveInt | None = None
    """Pictures of such a step over all processes (default: clips of a batch x frames)."""
    workers: Annotated[int, Field(ge=0, le=256)] = 2
    """Decoding threads of each process; 0 decodes when a batch is asked for."""
    prefetch: Annotated[int, Field(ge=0, le=64)] = 2
    """Batches made ahead by the workers."""
