"""The parameters of one clip: the one record of them, from a command to the clip's own metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from PIL import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipParams:
    """Model, words, picture and numbers of one clip. None means the model's default.

    Attributes:
        model: a name of the catalogue.
        prompt: what the clip shows.
        negative_prompt: what it shall not show.
        seed: 0 to 2^32-1; None: one is drawn when the parameters are resolved.
        fps: the frame rate that the model is told, at which the clip plays unless the model
            states another.
        steps: of the sampler.
        guidance: scale of classifier-free guidance.
        width: pixels.
        height: pixels.
        num_frames: frames of the clip.
        image: an encoded picture, or a decoded one: required by image-to-video models, refused by
            others. It is kept as a file of its own, so stored and written parameters have none.
    """

    model: str
    prompt: str
    negative_prompt: str | None = None
    seed: int | None = None
    fps: int | None = None
    steps: int | None = None
    guidance: float | None = None
    width: int | None = None
    height: int | None = None
    num_frames: int | None = None
    image: bytes | Image.Image | None = field(default=None, repr=False)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Take the parameters out of a mapping that may hold more, such as a database row."""
        return cls(**{name: values[name] for name in STORED if name in values})

    def stored(self) -> dict[str, Any]:
        """Return the parameters by name, without the picture: for rows, events and files."""
        return {name: getattr(self, name) for name in STORED}

    def without_image(self) -> Self:
        """Return the same parameters without the picture."""
        return replace(self, image=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedParams(ClipParams):
    """Parameters of which every default is filled in and every value is known to be allowed.

    `image` has been cropped and resized to width x height.
    """

    seed: int
    fps: int
    steps: int
    guidance: float
    width: int
    height: int
    num_frames: int
    image: Image.Image | None = field(default=None, repr=False)


STORED: tuple[str, ...] = tuple(each.name for each in fields(ClipParams) if each.name != "image")
"""The names of the parameters that are kept as values; the picture is kept as a file."""
