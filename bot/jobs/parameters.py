"""From what a command was given to something that may become a job."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Final

from bot.errors import UserError
from bot.jobs.attachments import Picture
from bot.messages.text import clean
from bot.store import ClipFormat, JobKind, NewAsset
from engine.serving.request import MAX_SEED

DEFAULT_MOTION: Final = "gentle natural motion"
"""What a picture is animated with when its sender gives no words."""

_SIZE: Final = re.compile(r"\s*(\d{1,5})\s*[x×*]\s*(\d{1,5})\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A user's order. None means the model's (or the settings') default.

    `prompt` and `negative_prompt` have been cleaned, `picture` has been decoded once. `asset` is
    its file in the data folder, if it lies there already.
    """

    kind: JobKind
    prompt: str
    model: str
    negative_prompt: str | None = None
    seed: int | None = None
    fps: int | None = None
    steps: int | None = None
    guidance: float | None = None
    width: int | None = None
    height: int | None = None
    expand: bool | None = None
    picture: Picture | None = None
    asset: NewAsset | None = None
    parent_generation_id: str | None = None
    expanded_prompt: str | None = None
    format: ClipFormat = "mp4"


def random_seed() -> int:
    """A seed, 0 to 2^32-1."""
    return secrets.randbelow(MAX_SEED + 1)


def checked_prompt(prompt: str, max_chars: int) -> str:
    """The cleaned prompt. Raises UserError when nothing is left of it or it is too long."""
    cleaned = clean(prompt)
    if not cleaned:
        raise UserError("The prompt is empty. Say what the clip should show.")
    if len(cleaned) > max_chars:
        raise UserError(
            f"The prompt has {len(cleaned)} characters; at most {max_chars} are allowed."
        )
    return cleaned


def checked_negative(negative: str | None, max_chars: int) -> str | None:
    """The cleaned negative prompt, None if empty. Raises UserError when it is too long."""
    cleaned = clean(negative or "")
    if len(cleaned) > max_chars:
        raise UserError(
            f"The negative prompt has {len(cleaned)} characters; at most {max_chars} are allowed."
        )
    return cleaned or None


def parsed_size(size: str | None) -> tuple[int | None, int | None]:
    """Width and height in pixels of "512x320", or two None. Raises UserError for anything else."""
    if size is None or not size.strip():
        return None, None
    match = _SIZE.fullmatch(size)
    if match is None:
        raise UserError('The size is a width and a height, such as "512x320".')
    return int(match[1]), int(match[2])
