"""From the engine's events to the store and to one message: the following of a single job."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bot.cards import Phase, Snapshot, cancelled_card, clip_card, failed_card, progress_card
from bot.delivery import CardMessage, Place, TooLarge, Undeliverable
from bot.livecard import TRANSIENT, LiveCard
from bot.paths import inside, resolve
from bot.ratings import THUMBS
from bot.services import Services
from bot.store import (
    GenerationRecord,
    IllegalTransitionError,
    JobRecord,
    JobState,
    NewGeneration,
    StoreError,
)
from bot.views import cancel_view, clip_view
from engine.serving import (
    Cancelled,
    EngineClosed,
    Event,
    Failed,
    Finished,
    GenerationRequest,
    GenerationResult,
    Job,
    Progress,
    Queued,
    QueueFullError,
    RequestError,
    Started,
)

logger = logging.getLogger(__name__)

_QUEUE_FULL_WAIT_S: Final = 3.0


class Follower:
    """Takes one stored job through expansion, rendering and delivery, and shows each on its card.

    `on_end` is told the job's id when it is over. When the bot closes in between, the job stays
    in the store as it is, for the next start.
    """

    def __init__(
        self,
        services: Services,
        job: JobRecord,
        message: CardMessage,
        *,
        resumed: bool = False,
        on_end: Callable[[str], None],
    ) -> None:
        self.job = job
        self._services = services
        self._snapshot = Snapshot(resumed=resumed)
        self._on_end = on_end
        self._engine_job: Job | None = None
        self._cancelled = False
        self._rendered = job.state is JobState.RENDERED
        self._began = 0.0
        # Events are taken in one at a time, in their order.
        self._taking = asyncio.Lock()
        self._card = LiveCard(
            services.background,
            message,
            services.edit_interval_s,
            render=lambda: progress_card(self.job, self._snapshot, cancel_view(self.job.id)),
            state=lambda: (self._snapshot.phase, self._snapshot.position, self._snapshot.step),
        )

    async def run(self) -> None:
        """Prepare the job and hand it to the engine, or deliver it if its clip is there already."""
        if self._rendered:
            await self._deliver_stored()
            return
        try:
            request = await self._request()
            engine_job = await self._submit(request)
        except EngineClosed:
            return
        except (RequestError, _Unusable) as error:
            await self._end_without_clip(JobState.FAILED, str(error))
            return
        if engine_job is None:
            await self._end_without_clip(JobState.CANCELLED, "cancelled")
            return
        self._engine_job = engine_job
        engine_job.subscribe(self._on_event)
        if self._cancelled:
            engine_job.cancel()

    def cancel(self) -> bool:
        """Ask for the end of the job; False if its clip is there already."""
        if self._rendered:
            return False
        self._cancelled = True
        if self._engine_job is not None:
            self._engine_job.cancel()
        return True

    # ------------------------------------------------------------------ to the engine

    async def _request(self) -> GenerationRequest:
        job = self.job
        image = None
        if job.image_asset is not None:
            path = resolve(self._services.data_dir, job.image_asset.path)
            try:
                image = await asyncio.to_thread(path.read_bytes)
            except OSError as error:
                logger.error("picture of job %s: %s", job.id, error)
                raise _Unusable("The picture is not on this machine any more.") from error
        return GenerationRequest(
            job_id=job.id,
            model=job.model,
            prompt=await self._words(),
            negative_prompt=job.negative_prompt,
            image=image,
            seed=job.seed,
            fps=job.fps,
            steps=job.steps,
            guidance=job.guidance,
            width=job.width,
            height=job.height,
        )

    async def _words(self) -> str:
        """What the model is given: the expanded prompt, if one is wanted."""
        job = self.job
        if job.expansion is not None:
            return job.expansion.expanded
        if not job.expand:
            return job.prompt
        self._snapshot.phase = Phase.EXPANDING
        await self._card.refresh()
        expansion = await self._services.expander.expand(job.prompt)
        if expansion.fallback is not None:
            logger.info("job %s keeps the user's words: %s", job.id, expansion.fallback)
        store = self._services.store
        await store.add_expansion(
            job.id, expansion.original, expansion.text, expansion.backend, expansion.language
        )
        self.job = await store.get_job(job.id) or job
        return expansion.text

    async def _submit(self, request: GenerationRequest) -> Job | None:
        while not self._cancelled:
            try:
                return await asyncio.to_thread(self._services.engine.submit, request)
            except QueueFullError:
                # Accepted is accepted: the job waits here until the engine's queue has room.
                await asyncio.sleep(_QUEUE_FULL_WAIT_S)
        return None

    # ---------------------------------------------------------------- from the engine

    def _on_event(self, event: Event) -> None:
        # In a worker's thread, which must not wait for Discord.
        if self._services.ownership.held():
            self._services.background.submit(lambda: self._handle(event))
        elif self._engine_job is not None:
            self._engine_job.cancel()  # the bot that has taken over runs the job

    async def _handle(self, event: Event) -> None:
        match event:
            case Finished(result):
                async with self._taking:
                    generation = await self._record(result)
                if generation is not None:
                    await self._deliver(generation, result.path)
            case Failed(_, message):
                await self._end_without_clip(JobState.FAILED, message)
            case Cancelled():
                await self._end_without_clip(JobState.CANCELLED, "cancelled")
            case Queued() | Started() | Progress():
                async with self._taking:
                    await self._take_in(event)
                await self._card.refresh()

    async def _take_in(self, event: Queued | Started | Progress) -> None:
        snapshot = self._snapshot
        match event:
            case Queued(position):
                snapshot.phase, snapshot.position = Phase.QUEUED, position
            case Started():
                self._began = time.perf_counter()
                snapshot.phase = Phase.RENDERING
                await self._note_start()
            case Progress(step, total_steps, preview):
                snapshot.phase = Phase.RENDERING
                snapshot.step, snapshot.total_steps = step, total_steps
                snapshot.elapsed_s = time.perf_counter() - self._began
                snapshot.preview = preview or snapshot.preview

    async def _note_start(self) -> None:
        try:
            self.job = await self._services.store.set_job_state(self.job.id, JobState.RUNNING)
        except StoreError as error:
            logger.warning("the start of job %s was not recorded: %s", self.job.id, error)

    async def _record(self, result: GenerationResult) -> GenerationRecord | None:
        expansion = self.job.expansion
        new = NewGeneration(
            job_id=self.job.id,
            prompt=self.job.prompt,
            expanded_prompt=None if expansion is None else expansion.expanded,
            negative_prompt=result.negative_prompt,
            model=result.model,
            model_revision=result.model_revision,
            seed=result.seed,
            steps=result.steps,
            fps=result.fps,
            guidance=result.guidance,
            width=result.width,
            height=result.height,
            num_frames=result.num_frames,
            path=inside(self._services.data_dir, result.path),
            elapsed_s=result.elapsed_s,
        )
        try:
            generation = await self._services.store.add_generation(new)
        except IllegalTransitionError as error:
            self._leave(error)
            return None
        except StoreError:
            logger.exception("the clip of job %s could not be recorded", self.job.id)
            await self._end_without_clip(
                JobState.FAILED, "The clip was made but could not be recorded. It has been logged."
            )
            return None
        self._rendered = True
        return generation

    # ------------------------------------------------------------------- to the user

    async def _deliver_stored(self) -> None:
        generation = await self._services.store.generation_by_job(self.job.id)
        path = None if generation is None else resolve(self._services.data_dir, generation.path)
        if generation is None or path is None or not path.is_file():
            await self._end_without_clip(
                JobState.FAILED, "The finished clip was lost before it could be sent. Ask again."
            )
            return
        await self._deliver(generation, path)

    async def _deliver(self, generation: GenerationRecord, clip: Path) -> None:
        store = self._services.store
        try:
            place = await self._show_clip(generation, clip)
        except Undeliverable as error:
            logger.warning("job %s: %s", self.job.id, error)
            await store.set_job_state(self.job.id, JobState.FAILED, "could not be delivered")
        except TRANSIENT as error:
            # It stays "rendered" and is delivered when the bot starts again.
            logger.error("the clip of job %s was not delivered: %s", self.job.id, error)
        else:
            await self._note(place)
            await store.set_job_state(self.job.id, JobState.DELIVERED)
            await self._card.seed_reactions(*THUMBS)
        finally:
            self._on_end(self.job.id)

    async def _show_clip(self, generation: GenerationRecord, clip: Path) -> Place | None:
        view = clip_view(generation.id)
        if _fits(clip, self.job.upload_limit):
            try:
                return await self._card.conclude(clip_card(self.job, generation, clip, view))
            except TooLarge:
                logger.info("job %s: the upload limit has shrunk", self.job.id)
        return await self._card.conclude(clip_card(self.job, generation, clip, view, attach=False))

    async def _end_without_clip(self, state: JobState, reason: str) -> None:
        try:
            self.job = await self._services.store.set_job_state(self.job.id, state, reason)
        except IllegalTransitionError as error:
            self._leave(error)
            return
        except StoreError:
            logger.exception("the end of job %s could not be recorded", self.job.id)
        failed = state is JobState.FAILED
        card = failed_card(self.job, reason) if failed else cancelled_card(self.job)
        try:
            await self._note(await self._card.conclude(card))
        except (*TRANSIENT, Undeliverable, TooLarge) as error:
            logger.warning("the end of job %s was not shown: %s", self.job.id, error)
        self._on_end(self.job.id)

    def _leave(self, error: IllegalTransitionError) -> None:
        # Another bot has taken over and was faster: its card must stand.
        logger.warning("%s", error)
        self._on_end(self.job.id)

    async def _note(self, place: Place | None) -> None:
        if place is not None and place.message_id != self.job.message_id:
            self.job = await self._services.store.set_message(
                self.job.id, place.channel_id, place.message_id
            )


class _Unusable(Exception):  # noqa: N818 - an outcome, not a fault
    """The job cannot be run any more; the text is for its owner."""


def _fits(clip: Path, limit: int) -> bool:
    return clip.stat().st_size <= limit
