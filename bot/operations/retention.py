"""Files that nobody needs any more: old clips, pictures without a clip, what crashes left."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from bot.operations.logs import job_context
from bot.operations.metrics import Metrics
from bot.settings import RetentionSettings
from bot.store import Store, StoredFile, StoreError
from bot.store.clip_files import UPLOADS, clip_files, remove_clip
from bot.store.paths import OutsideError, inside, resolve

logger = logging.getLogger(__name__)

_GB: Final = 10**9
_EVERY_S: Final = 86_400.0
_ORPHAN_AGE: Final = timedelta(days=1)
"""A temporary file this old is nobody's any more; a render or an upload takes minutes."""
_PICTURE_GRACE: Final = timedelta(days=7)
"""Time that a picture outlives its last job, if that has no clip (any more)."""
# How our writers call a file that is not complete yet.
_PARTS: Final = (".*.part", ".*.part.*", ".part-*")


@dataclass(frozen=True, slots=True)
class SweepReport:
    """The numbers of files that one sweep removed, and the bytes that this freed."""

    clips: int = 0
    pictures: int = 0
    parts: int = 0
    freed_bytes: int = 0

    @property
    def anything(self) -> bool:
        """True if anything was removed."""
        return bool(self.clips or self.pictures or self.parts)


def _machine_time() -> datetime:
    return datetime.now(UTC)


class RetentionSweeper:
    """Sweeps the data folder at the start of the bot, and daily.

    Clips that somebody rated are kept, and so is every file of a job that is not over. Rows stay in
    the database: a clip whose files went counts as deleted.
    """

    def __init__(
        self,
        store: Store,
        data_dir: Path,
        output_dir: Path,
        settings: RetentionSettings,
        metrics: Metrics,
        clock: Callable[[], datetime] = _machine_time,
    ) -> None:
        self._store = store
        self._data_dir = data_dir
        self._output_dir = output_dir
        self._settings = settings
        self._metrics = metrics
        self._clock = clock

    async def run(self) -> None:
        """Sweep now and every day until cancelled. Troubles are logged; the next day may do."""
        while True:
            try:
                await self.sweep(self._clock())
            except (StoreError, OSError) as error:
                logger.error("retention: %s", error)
            await asyncio.sleep(_EVERY_S)

    async def sweep(self, now: datetime) -> SweepReport:
        """Remove what is due at `now`. Raises StoreError, OSError."""
        parts, part_bytes = await asyncio.to_thread(self._remove_parts, now)
        clips, clip_bytes = await self._expire_clips(now)
        pictures, picture_bytes = await self._remove_pictures(now)
        swept = SweepReport(clips, pictures, parts, part_bytes + clip_bytes + picture_bytes)
        self._metrics.files_expired(swept.clips, swept.freed_bytes)
        if swept.anything:
            logger.info(
                "retention: %d clips, %d pictures and %d incomplete files removed, %.1f MB",
                swept.clips,
                swept.pictures,
                swept.parts,
                swept.freed_bytes / 1e6,
            )
        return swept

    # ------------------------------------------------------------------------ clips

    async def _expire_clips(self, now: datetime) -> tuple[int, int]:
        # First what an earlier sweep, or a deletion, marked and could not finish.
        left = await self._store.deleted_clips()
        freed = await asyncio.to_thread(self._remove_clips, left)
        due = await asyncio.to_thread(self._due, await self._store.expirable_clips(), now)
        # Marked first: a crash in between leaves files that the next sweep finds.
        marked = await self._store.expire_clips([clip.id for clip in due])
        gone = [clip for clip in due if clip.id in marked]
        return len(gone), freed + await asyncio.to_thread(self._remove_clips, gone)

    def _due(self, clips: Sequence[StoredFile], now: datetime) -> list[StoredFile]:
        """Of clips that may go, oldest first, those that are too old or too much."""
        due: list[StoredFile] = []
        rest = list(clips)
        if self._settings.max_age_days:
            oldest = now - timedelta(days=self._settings.max_age_days)
            due = [clip for clip in rest if clip.created_at < oldest]
            rest = rest[len(due) :]
        if self._settings.max_gb:
            size = sum(map(_size, _files(self._output_dir)))
            size -= sum(self._size_of(clip) for clip in due)
            for clip in rest:
                if size <= self._settings.max_gb * _GB:
                    break
                size -= self._size_of(clip)
                due.append(clip)
        return due

    def _size_of(self, clip: StoredFile) -> int:
        try:
            path = resolve(self._data_dir, clip.path)
        except OutsideError as error:
            logger.error("retention: the clip of job %s: %s", clip.job_id, error)
            return 0
        return sum(map(_size, clip_files(path)))

    def _remove_clips(self, clips: Iterable[StoredFile]) -> int:
        freed = 0
        for clip in clips:
            if (size := self._size_of(clip)) > 0:
                with job_context(clip.job_id):
                    path = resolve(self._data_dir, clip.path)
                    remove_clip(path)
                    logger.info("retention: %s removed", path)
                freed += size
        return freed

    # --------------------------------------------------------------------- pictures

    async def _remove_pictures(self, now: datetime) -> tuple[int, int]:
        folder = self._data_dir / UPLOADS
        old = await asyncio.to_thread(lambda: [*_older(folder, now - _ORPHAN_AGE)])
        if not old:
            return 0, 0
        needed = await self._store.needed_pictures(now - _PICTURE_GRACE)
        return await asyncio.to_thread(
            _remove, (path for path in old if inside(self._data_dir, path) not in needed)
        )

    def _remove_parts(self, now: datetime) -> tuple[int, int]:
        folders = (self._output_dir, self._data_dir / UPLOADS)
        return _remove(
            path
            for folder in folders
            for path in _older(folder, now - _ORPHAN_AGE, hidden=True)
            if any(path.match(pattern) for pattern in _PARTS)
        )


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _older(folder: Path, than: datetime, *, hidden: bool = False) -> Iterator[Path]:
    for path in _files(folder):
        if path.name.startswith(".") is hidden and _changed(path) < than.timestamp():
            yield path


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _remove(paths: Iterable[Path]) -> tuple[int, int]:
    """Delete files; how many, and their bytes. Those that cannot be deleted are logged."""
    count = freed = 0
    for path in paths:
        size = _size(path)
        try:
            path.unlink()
        except OSError as error:
            logger.warning("retention: %s could not be removed: %s", path, error)
            continue
        logger.info("retention: %s removed", path)
        count, freed = count + 1, freed + size
    return count, freed
