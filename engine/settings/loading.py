"""Load options of a single model, above all for machines with little memory."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import model_validator

from common.settings import Allowed, StrictBool
from engine.settings.errors import EngineModel, EngineSettingsError

Precision = Literal["auto", "float32", "float16", "bfloat16"]
Offload = Literal["none", "model", "group"]
AttentionChoice = Literal["sdpa", "sliced"]


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
