"""The file of a clip that goes to Discord: in the format asked for, within the upload limit."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from bot.store import ClipFormat
from engine.serving import (
    CannotFitError,
    EncodeError,
    EncoderMissingError,
    convert_clip,
    fit_to_limit,
)

logger = logging.getLogger(__name__)


class CannotPack(Exception):  # noqa: N818 - an outcome, not a fault
    """No file of the clip can be uploaded; the text says why."""


async def packed(clip: Path, form: ClipFormat, limit_bytes: int) -> Path:
    """A file of the clip with at most so many bytes; the clip itself where that fits.

    Raises:
        CannotPack: even the smallest is too large, or it could not be made.
    """
    try:
        return await asyncio.to_thread(_pack, clip, form, limit_bytes)
    except CannotFitError as error:
        raise CannotPack(str(error)) from error
    except (EncodeError, EncoderMissingError, OSError) as error:
        logger.error("%s could not be made smaller: %s", clip, error)
        raise CannotPack("the clip could not be made smaller") from error


def _pack(clip: Path, form: ClipFormat, limit_bytes: int) -> Path:
    if form == "mp4":
        return fit_to_limit(clip, limit_bytes).path
    return convert_clip(clip, form, limit_bytes).path
