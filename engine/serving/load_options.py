"""How one model is loaded and where its weights lie: options for machines with little memory."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args, get_type_hints

from engine.serving.errors import EngineSettingsError

Precision = Literal["auto", "float32", "float16", "bfloat16"]
Offload = Literal["none", "model", "group"]
AttentionChoice = Literal["sdpa", "sliced"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """How a model is loaded. The defaults are the fastest; what each saves is in docs/memory.md.

    Attributes:
        precision: number format of the weights; "auto" leaves it to the engine's own setting.
        offload: where the weights wait. "none": all of them on the device. "model": in main
            memory, and one network at a time on the device. "group": in main memory, and one layer
            at a time on the device. Needs a GPU.
        vae_tiling: decode frames of more than 512 x 512 pixels in overlapping tiles that are
            blended, which changes the frames slightly.
        vae_slicing: decode one frame at a time, whatever its size.
        attention: "sliced" computes attention for a few positions at a time.
        compile: let torch compile the UNet at its first use: minutes once, then faster. Needs a
            GPU and all weights on it.

    Raises:
        EngineSettingsError: a value that is not allowed, or compile together with offload.
    """

    precision: Precision = "auto"
    offload: Offload = "none"
    vae_tiling: bool = False
    vae_slicing: bool = False
    attention: AttentionChoice = "sdpa"
    compile: bool = False

    def __post_init__(self) -> None:
        kinds = get_type_hints(type(self))
        for field in fields(self):
            value, kind = getattr(self, field.name), kinds[field.name]
            if kind is bool:
                if not isinstance(value, bool):
                    raise EngineSettingsError(field.name, f"{value!r} is neither true nor false")
            elif value not in get_args(kind):
                allowed = ", ".join(get_args(kind))
                raise EngineSettingsError(field.name, f"{value!r} is none of {allowed}")
        if self.compile and self.offload != "none":
            raise EngineSettingsError("compile", f'cannot go with offload = "{self.offload}"')
