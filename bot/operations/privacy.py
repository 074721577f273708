"""`python -m bot forget` and `export`: what is kept of one person, and its end."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Final

from bot.files import PRIVATE_FILE
from bot.settings import Settings
from bot.store import Forgotten, Store, StoredFiles
from bot.store.clip_files import remove_clip, remove_picture
from bot.store.paths import resolve
from common.atomic_write import atomic_write

logger = logging.getLogger(__name__)

NOT_COVERED: Final = (
    "Not covered: backups and copies of the data folder, the log, and messages in Discord, which "
    "can be deleted there."
)


async def forget(settings: Settings, user_id: int) -> str:
    """Delete everything that is kept of a person but a block; what was done, in words.

    Works while the bot runs. Raises StoreError.
    """
    if _is_new(settings):
        return f"Nothing is kept of {user_id}."

    def remove(files: StoredFiles) -> None:
        for clip in files.clips:
            remove_clip(resolve(settings.data_dir, clip))
        for picture in files.pictures:
            remove_picture(settings.data_dir, picture)

    async with await Store.open(settings.database_location) as store:
        forgotten = await store.forget_person(user_id, remove)
        if not await store.truncate_log():
            logger.warning(
                "the database's log could not be shortened just now; run this again later"
            )
    return _in_words(user_id, forgotten)


async def export(settings: Settings, user_id: int, *, ascii_only: bool = False) -> str:
    """Return everything that is kept of a person, as JSON. Raises StoreError.

    `ascii_only`: for a console, which may not know every script.
    """
    kept: dict[str, Any] = {"user_id": user_id}
    if not _is_new(settings):
        async with await Store.open(settings.database_location) as store:
            kept = await store.export_person(user_id)
    return json.dumps(kept, indent=2, ensure_ascii=ascii_only) + "\n"


def write_private(file: Path, text: str) -> None:
    """Write a file that only this account can read, also where there is an older one.

    Raises OSError.
    """
    atomic_write(file, text, mode=PRIVATE_FILE, unique=False)


def _is_new(settings: Settings) -> bool:
    """Return whether there is no database yet: asking for a person must not make one."""
    return settings.database.url is None and not settings.database_path.exists()


def _in_words(user_id: int, forgotten: Forgotten) -> str:
    if not (forgotten.known or forgotten.jobs or forgotten.ratings):
        return f"Nothing is kept of {user_id}."
    files = forgotten.files
    return (
        f"Forgotten: {user_id}, with {forgotten.jobs} jobs, {len(files.clips)} clips, "
        f"{len(files.pictures)} pictures, {forgotten.ratings} ratings, and {forgotten.rerolls} "
        f"re-rolls of their clips by others. {NOT_COVERED}"
    )
