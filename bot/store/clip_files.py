"""The files of finished clips and of the pictures they start from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from bot.store.paths import OutsideError, resolve

logger = logging.getLogger(__name__)

UPLOADS: Final = "uploads"
"""The folder of pictures that people sent, in the data folder."""


def clip_files(clip: Path) -> tuple[Path, ...]:
    """The clip, what is written beside it, and the copies that were made for uploads."""
    copies = (clip.with_name(f"{clip.stem}{suffix}") for suffix in (".fit.mp4", ".gif", ".webp"))
    return (clip, clip.with_suffix(".json"), *copies)


def remove_clip(clip: Path) -> None:
    """Delete all files of a clip; those that cannot be are logged."""
    for path in clip_files(clip):
        _remove(path)


def remove_stored_clip(data_dir: Path, stored: str) -> None:
    """Delete all files of a clip by its stored path; what lies elsewhere is left alone."""
    try:
        clip = resolve(data_dir, stored)
    except OutsideError as error:
        logger.error("a clip's file was not removed: %s", error)
    else:
        remove_clip(clip)


def remove_picture(data_dir: Path, stored: str) -> None:
    """Delete a picture that somebody sent, by its stored path; a failure is logged."""
    try:
        path = resolve(data_dir, stored)
    except OutsideError as error:
        logger.error("a picture's file was not removed: %s", error)
        return
    if path.resolve().parent != (data_dir / UPLOADS).resolve():
        logger.warning("%s is no picture of ours and stays", stored)
    else:
        _remove(path)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s could not be removed: %s", path, error)
