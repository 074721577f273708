"""Pictures that users send: fetched at once, checked, kept under a neutral name."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import discord

from bot.errors import UserError
from bot.files import make_private_folder
from bot.store import NewAsset
from bot.text import megabytes
from engine.serving.pictures import PictureError, decode_picture

logger = logging.getLogger(__name__)

FOLDER: Final = "uploads"
_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)


@dataclass(frozen=True, slots=True)
class Picture:
    """An upload that decodes: its bytes as sent, and the size of its upright picture in pixels."""

    content: bytes
    width: int
    height: int


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
        content = await attachment.read()
    except discord.HTTPException as error:
        logger.warning("attachment %s could not be fetched: %s", attachment.id, error)
        raise UserError("Discord did not hand out the picture. Please send it again.") from error
    if len(content) > max_bytes:  # the stated size was not the true one
        raise UserError(f"The picture is larger than {megabytes(max_bytes)}.")
    return await asyncio.to_thread(_inspect, content, max_pixels)


async def keep(picture: Picture, data_dir: Path) -> NewAsset:
    """Write the picture to the data folder, named after its contents. Raises OSError."""
    return await asyncio.to_thread(_write, picture, data_dir)


def _inspect(content: bytes, max_pixels: int) -> Picture:
    try:
        decoded = decode_picture(content, max_pixels=max_pixels)
    except PictureError as error:
        raise UserError(str(error)) from error
    return Picture(content, decoded.width, decoded.height)


def _write(picture: Picture, data_dir: Path) -> NewAsset:
    digest = hashlib.sha256(picture.content).hexdigest()
    folder = data_dir / FOLDER
    make_private_folder(folder)
    target = folder / digest
    if not _refreshed(target):
        descriptor, name = tempfile.mkstemp(prefix=".part-", dir=folder)
        part = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(picture.content)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    return NewAsset(
        path=f"{FOLDER}/{digest}",
        sha256=digest,
        mime=_mime(picture.content),
        width=picture.width,
        height=picture.height,
        bytes=len(picture.content),
    )


def _refreshed(file: Path) -> bool:
    """Whether the file is there; it counts as new then, so that retention leaves it alone."""
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
