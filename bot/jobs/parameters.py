"""Check the options of a command, and carry what they ask for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from bot.errors import UserError
from bot.jobs.attachments import Picture
from bot.kinds import JobKind
from bot.messages.text import clean
from bot.store import ClipFormat, NewAsset
from engine.serving import ClipParams

DEFAULT_MOTION: Final = "gentle natural motion"
"""The prompt of a picture that is sent without words."""

_SIZE: Final = re.compile(r"\s*(\d{1,5})\s*[x×*]\s*(\d{1,5})\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOrder:
    """One clip that a user asks for.

    Attributes:
        kind: of the job.
        params: of the clip. The prompts have been cleaned; `image` is what `picture` decodes to.
        expand: expand the prompt; None: as the settings say.
        format: of the file that is sent.
        picture: that the clip starts from, without its metadata.
        asset: the picture's file in the data folder, if it lies there already.
        parent_generation_id: the clip that is made again.
        expanded_prompt: text that its prompt became before.
    """

    kind: JobKind
    params: ClipParams
    expand: bool | None = None
    format: ClipFormat = "mp4"
    picture: Picture | None = None
    asset: NewAsset | None = None
    parent_generation_id: str | None = None
    expanded_prompt: str | None = None


def checked_prompt(prompt: str, max_chars: int) -> str:
    """Return the cleaned prompt. Raises UserError if nothing is left of it or it is too long."""
    cleaned = clean(prompt)
    if not cleaned:
        raise UserError("The prompt is empty. Say what the clip should show.")
    if len(cleaned) > max_chars:
        raise UserError(
            f"The prompt has {len(cleaned)} characters; at most {max_chars} are allowed."
        )
    return cleaned


def checked_negative(negative: str | None, max_chars: int) -> str | None:
    """Return the cleaned negative prompt, None if empty. Raises UserError if it is too long."""
    cleaned = clean(negative or "")
    if len(cleaned) > max_chars:
        raise UserError(
            f"The negative prompt has {len(cleaned)} characters; at most {max_chars} are allowed."
        )
    return cleaned or None


def parsed_size(size: str | None) -> tuple[int | None, int | None]:
    """Return width and height of "512x320", or two None. Raises UserError for anything else."""
    if size is None or not size.strip():
        return None, None
    match = _SIZE.fullmatch(size)
    if match is None:
        raise UserError('The size is a width and a height, such as "512x320".')
    return int(match[1]), int(match[2])
