"""Make the file of a clip that goes to Discord, in its format and within the upload limit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

from bot.errors import BotError
from bot.messages.answers import UploadTooLargeError
from bot.store import ClipFormat
from engine.serving import (
    CannotFitError,
    EncodeError,
    EncoderMissingError,
    convert_clip,
    fit_to_limit,
)

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_SIZES_TRIED: Final = 4
_SHRINK: Final = 0.7
"""Of the size that was refused, for the next try."""


class ClipNotUploadableError(BotError):
    """No file of the clip can be uploaded; the text says why."""


async def send_fitted(
    clip: Path,
    form: ClipFormat,
    limit_bytes: int,
    send: Callable[[Path], Awaitable[Result]],
) -> Result:
    """Send a clip, smaller whenever Discord refuses its size, and return what `send` does.

    Args:
        clip: the MP4 as it was made.
        form: the format to send.
        limit_bytes: what the interaction said of the upload limit. It may be wrong, and Discord
            may change its mind.
        send: uploads the file it is given; raises UploadTooLargeError when that was too large.

    Raises:
        ClipNotUploadableError: no size was taken, or none could be made.
    """
    for _ in range(_SIZES_TRIED):
        upload = await fit_upload(clip, form, limit_bytes)
        try:
            return await send(upload)
        except UploadTooLargeError:
            limit_bytes = int(_SHRINK * upload.stat().st_size)
            logger.info("%s was too large; trying %d bytes", upload, limit_bytes)
    raise ClipNotUploadableError("Discord takes no file of its size.")


async def fit_upload(clip: Path, form: ClipFormat, limit_bytes: int) -> Path:
    """Return a file of the clip with at most so many bytes; the clip itself where that fits.

    Raises:
        ClipNotUploadableError: even the smallest is too large, or it could not be made.
    """
    try:
        return await asyncio.to_thread(_fit, clip, form, limit_bytes)
    except CannotFitError as error:
        raise ClipNotUploadableError(str(error)) from error
    except (EncodeError, EncoderMissingError, OSError) as error:
        logger.error("%s could not be made smaller: %s", clip, error)
        raise ClipNotUploadableError("the clip could not be made smaller") from error


def _fit(clip: Path, form: ClipFormat, limit_bytes: int) -> Path:
    if form == "mp4":
        return fit_to_limit(clip, limit_bytes).path
    return convert_clip(clip, form, limit_bytes).path
