"""The files of finished clips."""

from __future__ import annotations

import logging
from pathlib import Path

from bot.paths import OutsideError, resolve

logger = logging.getLogger(__name__)


def clip_files(clip: Path) -> tuple[Path, ...]:
    """The clip, what is written beside it, and the copies that were made for uploads."""
    copies = (clip.with_name(f"{clip.stem}{suffix}") for suffix in (".fit.mp4", ".gif", ".webp"))
    return (clip, clip.with_suffix(".json"), *copies)


def remove_clip(clip: Path) -> None:
    """Delete all files of a clip; those that cannot be are logged."""
    for path in clip_files(clip):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s could not be removed: %s", path, error)


def remove_stored_clip(data_dir: Path, stored: str) -> None:
    """Delete all files of a clip by its stored path; what lies elsewhere is left alone."""
    try:
        clip = resolve(data_dir, stored)
    except OutsideError as error:
        logger.error("a clip's file was not removed: %s", error)
    else:
        remove_clip(clip)
