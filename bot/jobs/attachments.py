"""Fetch and check the pictures that users send, and keep them under a neutral name."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import discord
from PIL import Image

from bot.errors import UserError
from bot.files import PRIVATE_FILE, make_private_folder
from bot.jobs.downloads import DownloadTooLargeError
from bot.messages.text import megabytes
from bot.store import NewAsset
from bot.store.clip_files import UPLOADS as FOLDER
from common.atomic_write import atomic_write
from engine.serving.media.image_metadata import clean_file
from engine.serving.media.input_images import START_SIDE, PictureError, read_picture

logger = logging.getLogger(__name__)

_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)


# A few kilobytes can be a picture of a hundred megabytes, so one is unpacked at a time. In a pool
# of its own: whoever waits here must not keep a thread from others.
_UNPACKING: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="picture")
_DOWNLOAD_S: Final = 60.0
_NOT_ARRIVED: Final = "The picture did not arrive from Discord. Please send it again."


@dataclass(frozen=True, slots=True)
class Picture:
    """An upload that decodes, without its metadata, and its size in pixels when upright.

    `image` is what it decodes to, perhaps smaller; None if that is not at hand.
    """

    content: bytes
    width: int
    height: int
    image: Image.Image | None = field(default=None, repr=False, compare=False)

    @property
    def source(self) -> Image.Image | bytes:
        """The picture that a clip is made from: decoded already, where that is at hand."""
        return self.content if self.image is None else self.image


def check_size(attachment: discord.Attachment, max_bytes: int) -> None:
    """Refuse a large file by what Discord says of it, before it is fetched. Raises UserError."""
    if attachment.size > max_bytes:
        raise UserError(
            f"The picture has {megabytes(attachment.size)}; "
            f"at most {megabytes(max_bytes)} are accepted."
        )


async def fetch(attachment: discord.Attachment, max_bytes: int, max_pixels: int) -> Picture:
    """Download and check a picture. Raises UserError with what is wrong with it."""
    check_size(attachment, max_bytes)
    try:
        async with asyncio.timeout(_DOWNLOAD_S):
            content = await attachment.read()
    except DownloadTooLargeError as error:  # the stated size was not the true one
        raise UserError(f"The picture is larger than {megabytes(max_bytes)}.") from error
    except (discord.DiscordException, aiohttp.ClientError, OSError, ValueError) as error:
        # TimeoutError is an OSError.
        reason = str(error) or type(error).__name__
        logger.warning("attachment %s could not be fetched: %s", attachment.id, reason)
        raise UserError(_NOT_ARRIVED) from error
    if len(content) > max_bytes:
        raise UserError(f"The picture is larger than {megabytes(max_bytes)}.")
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_UNPACKING, _inspect, content, max_pixels)


async def keep(picture: Picture, data_dir: Path) -> NewAsset:
    """Write the picture to the data folder, named after its contents. Raises OSError."""
    return await asyncio.to_thread(_write, picture, data_dir)


def _inspect(content: bytes, max_pixels: int) -> Picture:
    try:
        decoded = read_picture(content, max_pixels=max_pixels, short_side=START_SIDE)
    except PictureError as error:
        raise UserError(str(error)) from error
    cleaned = clean_file(content, decoded)
    if decoded.turned or _mime(cleaned) != _mime(content):  # written anew from what was decoded
        return Picture(cleaned, *decoded.image.size, decoded.image)
    return Picture(cleaned, decoded.width, decoded.height, decoded.image)


def _write(picture: Picture, data_dir: Path) -> NewAsset:
    digest = hashlib.sha256(picture.content).hexdigest()
    folder = data_dir / FOLDER
    make_private_folder(folder)
    target = folder / digest
    if not _refreshed(target):
        atomic_write(target, picture.content, mode=PRIVATE_FILE)
    return NewAsset(
        path=f"{FOLDER}/{digest}",
        sha256=digest,
        mime=_mime(picture.content),
        width=picture.width,
        height=picture.height,
        bytes=len(picture.content),
    )


def _refreshed(file: Path) -> bool:
    """Mark the file as new, so that retention leaves it alone; return whether it is there."""
    try:
        os.utime(file)
    except FileNotFoundError:
        return False
    return True


def _mime(content: bytes) -> str:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next(
        (mime for signature, mime in _SIGNATURES if content.startswith(signature)),
        "application/octet-stream",
    )
