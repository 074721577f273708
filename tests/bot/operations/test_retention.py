"""What is swept away, and what never is."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from bot.jobs.attachments import Picture, keep
from bot.operations.metrics import Metrics
from bot.operations.retention import RetentionSweeper, SweepReport
from bot.settings import RetentionSettings
from bot.store import GenerationRecord, JobRecord, JobState, Store
from bot.store.tables import Generation, Job
from tests.bot.store.examples import (
    A_JOB,
    A_PICTURE,
    AN_ANIMATION,
    OWNER,
    a_clip,
    changed,
    message_of,
)

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
COPIES = (".mp4", ".json", ".fit.mp4", ".gif")
SIZE = 1000
DIGEST = iter(f"{number:064x}" for number in range(1000))


@dataclass
class Folder:
    """A data folder with a store in it."""

    data_dir: Path
    store: Store

    def retention(self, **settings: float) -> RetentionSweeper:
        return RetentionSweeper(
            self.store,
            self.data_dir,
            self.data_dir / "outputs",
            RetentionSettings.model_validate(settings),
            Metrics(),
            clock=lambda: NOW,
        )

    async def sweep(self, *, now: datetime = NOW, **settings: float) -> SweepReport:
        return await self.retention(**settings).sweep(now)

    async def clip(
        self, age_days: float, *, state: JobState = JobState.DELIVERED, picture: bool = False
    ) -> tuple[JobRecord, GenerationRecord]:
        """A clip with its files, made so many days ago by a job that got so far."""
        asked = A_JOB
        if picture:
            asked = changed(AN_ANIMATION, image_asset=replace(A_PICTURE, **self.picture(age_days)))
        job = await self.store.create_job(asked)
        await self.store.set_message(job.id, 1, int(job.id[:12], 16))
        await self.store.set_job_state(job.id, JobState.RUNNING)
        path = f"outputs/2026-06/{job.id}.mp4"
        clip = await self.store.add_generation(changed(a_clip(job.id), path=path))
        if state is not JobState.RENDERED:
            await self.store.set_job_state(job.id, state)
        made = NOW - timedelta(days=age_days)
        async with self.store._database.write() as session:
            await session.execute(
                update(Generation).where(Generation.id == clip.id).values(created_at=made)
            )
            finished = None if state is JobState.RENDERED else made
            await session.execute(update(Job).where(Job.id == job.id).values(finished_at=finished))
        for file in self.files(clip):
            self.write(file, age_days)
        stored = await self.store.get_job(job.id)
        assert stored is not None
        return stored, clip

    def picture(self, age_days: float) -> dict[str, str]:
        digest = next(DIGEST)
        self.write(self.data_dir / "uploads" / digest, age_days)
        return {"path": f"uploads/{digest}", "sha256": digest}

    def files(self, clip: GenerationRecord) -> list[Path]:
        path = self.data_dir / clip.path
        return [path.with_name(path.stem + suffix) for suffix in COPIES]

    def write(self, path: Path, age_days: float) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * SIZE)
        then = (NOW - timedelta(days=age_days)).timestamp()
        os.utime(path, (then, then))
        return path

    def all(self) -> set[str]:
        return set(self._names())

    def _names(self) -> Iterator[str]:
        for folder in ("outputs", "uploads"):
            for path in (self.data_dir / folder).rglob("*"):
                if path.is_file():
                    yield path.name

    def there(self, clip: GenerationRecord) -> bool:
        """Whether all files of the clip are there; none, or the test is over."""
        present = [path.exists() for path in self.files(clip)]
        assert len(set(present)) == 1, present
        return present[0]


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Folder]:
    async with await Store.open(tmp_path / "data" / "floor33.db") as store:
        yield Folder(tmp_path / "data", store)


async def test_as_it_comes_every_clip_is_kept(folder: Folder) -> None:
    _, clip = await folder.clip(5000)
    assert await folder.sweep() == SweepReport()
    assert folder.there(clip)


async def test_old_clips_go_and_rated_ones_stay(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    rated_job, rated = await folder.clip(90)
    await folder.store.rate(message_of(rated_job), 5, "Eve", value=-1)
    own_job, own = await folder.clip(90)
    await folder.store.rate(message_of(own_job), OWNER, "Ada", value=1)
    old_job, old = await folder.clip(31)
    _, new = await folder.clip(29)
    with caplog.at_level(logging.INFO):
        swept = await folder.sweep(max_age_days=30)
    assert swept == SweepReport(clips=1, freed_bytes=len(COPIES) * SIZE)
    assert [folder.there(clip) for clip in (rated, own, old, new)] == [True, True, False, True]
    assert any(old_job.id in record.getMessage() for record in caplog.records)
    gone = await folder.store.get_generation(old.id)
    assert gone is not None
    assert gone.deleted_at is not None
    assert await folder.store.get_job(old_job.id) == old_job
    assert await folder.sweep(max_age_days=30) == SweepReport()


async def test_ages_are_told_by_the_clock_that_is_given(folder: Folder) -> None:
    """A machine's own may be ahead by months."""
    _, old = await folder.clip(31)
    _, new = await folder.clip(29)
    running = asyncio.create_task(folder.retention(max_age_days=30).run())
    async with asyncio.timeout(60):
        while folder.there(old):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert folder.there(new)


@pytest.mark.parametrize("limit_files", [0, 3, 5, 100])
async def test_too_many_clips_go_oldest_first(folder: Folder, limit_files: int) -> None:
    clips = [(await folder.clip(age))[1] for age in (4, 3, 2, 1)]
    size = len(COPIES) * SIZE
    max_gb = (limit_files * SIZE + 500) / 1e9
    swept = await folder.sweep(max_gb=max_gb)
    kept = [clip for clip in clips if folder.there(clip)]
    assert kept == clips[len(clips) - min(len(clips), limit_files * SIZE // size) :]
    assert swept.clips == len(clips) - len(kept)


async def test_what_is_rated_counts_but_stays(folder: Folder) -> None:
    job, rated = await folder.clip(9)
    await folder.store.rate(message_of(job), 5, "Eve", value=1)
    _, other = await folder.clip(1)
    await folder.sweep(max_gb=1e-9)
    assert folder.there(rated)
    assert not folder.there(other)


async def test_jobs_that_are_not_over_keep_everything(folder: Folder) -> None:
    _, clip = await folder.clip(400, state=JobState.RENDERED, picture=True)
    waiting = changed(AN_ANIMATION, image_asset=replace(A_PICTURE, **folder.picture(400)))
    await folder.store.create_job(waiting)
    before = folder.all()
    assert await folder.sweep(max_age_days=1, max_gb=1e-9) == SweepReport()
    assert folder.there(clip)
    assert folder.all() == before


async def test_a_rating_that_comes_in_between_saves_the_clip(folder: Folder) -> None:
    job, clip = await folder.clip(90)
    assert [due.id for due in await folder.store.expirable_clips()] == [clip.id]
    await folder.store.rate(message_of(job), 5, "Eve", value=1)
    assert await folder.store.expire_clips([clip.id]) == set()
    kept = await folder.store.get_generation(clip.id)
    assert kept is not None
    assert kept.deleted_at is None


async def test_a_sweep_that_was_cut_off_is_finished_by_the_next(folder: Folder) -> None:
    _, clip = await folder.clip(90)
    assert await folder.store.expire_clips([clip.id]) == {clip.id}
    assert folder.there(clip)
    assert (await folder.sweep()).freed_bytes == len(COPIES) * SIZE
    assert not folder.there(clip)


async def test_pictures_go_when_no_job_can_ask_for_them(folder: Folder) -> None:
    _, shown = await folder.clip(60, picture=True)
    _, deleted = await folder.clip(60, picture=True)
    _, lately = await folder.clip(2, picture=True)
    for clip in (deleted, lately):
        await folder.store.set_generation_deleted(clip.id)
    orphan, fresh = folder.picture(2), folder.picture(0.5)

    async def picture_of(clip: GenerationRecord) -> Path:
        job = await folder.store.get_job(clip.job_id)
        assert job is not None
        assert job.image_asset is not None
        return folder.data_dir / job.image_asset.path

    swept = await folder.sweep()
    assert swept.pictures == 2
    assert not (await picture_of(deleted)).exists()
    assert not (folder.data_dir / orphan["path"]).exists()
    for kept in (await picture_of(shown), await picture_of(lately)):
        assert kept.exists()
    assert (folder.data_dir / fresh["path"]).exists()


async def test_a_picture_that_is_sent_again_counts_as_new(folder: Folder) -> None:
    picture = Picture(b"the same bytes", 8, 8)
    asset = await keep(picture, folder.data_dir)
    file = folder.write(folder.data_dir / asset.path, 30)
    before = file.stat().st_mtime
    # Its job is not stored yet: a sweep at this moment must not take it away.
    assert await keep(picture, folder.data_dir) == asset
    assert file.stat().st_mtime > before
    now = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    assert (await folder.sweep(now=now)).pictures == 0
    assert (await folder.sweep(now=now + timedelta(days=2))).pictures == 1


async def test_incomplete_files_go_after_a_day(folder: Folder) -> None:
    _, clip = await folder.clip(3)
    outputs, uploads = folder.data_dir / "outputs" / "2026-06", folder.data_dir / "uploads"
    names = [".a.part.mp4", ".a.part.json", ".a.fit.part.mp4"]
    old = [folder.write(outputs / name, 2) for name in names]
    old.append(folder.write(uploads / ".part-x7", 2))
    kept = [
        folder.write(outputs / ".b.part.mp4", 0.5),
        folder.write(outputs / "notes.part.txt", 9),
        folder.write(outputs / ".hidden", 9),
    ]
    swept = await folder.sweep()
    assert swept == SweepReport(parts=4, freed_bytes=4 * SIZE)
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in kept)
    assert folder.there(clip)


async def test_an_empty_data_folder_is_fine(folder: Folder) -> None:
    assert await folder.sweep(max_age_days=1, max_gb=0.1) == SweepReport()
