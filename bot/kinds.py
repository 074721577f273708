"""The kinds of jobs: one row for each command that makes a clip in a way of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

ModelTask = Literal["text-to-video", "image-to-video"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobKind:
    """One kind of job.

    Attributes:
        name: as stored with the job, up to 16 characters.
        command: the slash command that asks for it.
        task: of the models that can make it.
        needs_image: True if it starts from a picture.
        default_model: the key of the settings' section `models` that names its model.
    """

    name: str
    command: str
    task: ModelTask
    needs_image: bool
    default_model: Literal["text_to_video", "image_to_video"]


JOB_KINDS: Final[Mapping[str, JobKind]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            JobKind(
                name="imagine",
                command="imagine",
                task="text-to-video",
                needs_image=False,
                default_model="text_to_video",
            ),
            JobKind(
                name="animate",
                command="animate",
                task="image-to-video",
                needs_image=True,
                default_model="image_to_video",
            ),
        )
    }
)


def job_kind(name: str) -> JobKind:
    """Return the row of this name. Raises ValueError if there is none."""
    kind = JOB_KINDS.get(name)
    if kind is None:
        raise ValueError(f"kind must be one of {', '.join(JOB_KINDS)}, not {name!r}")
    return kind
