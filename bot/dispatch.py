"""From the engine's events to the store and to one message: the following of a single job."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

import discord

from bot.cards import Phase, Snapshot, cancelled_card, failed_card, progress_card
from bot.delivery import CardMessage
from bot.handover import Handover
from bot.livecard import LiveCard
from bot.operations.logs import job_context
from bot.outputs import remove_clip
from bot.paths import inside, resolve
from bot.services import Services
from bot.store import (
    GenerationRecord,
    IllegalTransitionError,
    JobRecord,
    JobState,
    NewGeneration,
    StoreError,
    TakenOverError,
)
from bot.views import cancel_view
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
_UNRECORDED: Final = "The clip was made but could not be recorded. It has been logged."


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
        self._over = False
        self._device: str | None = None
        self._began = 0.0
        # Events and a cancellation are taken in one at a time, in their order.
        self._taking = asyncio.Lock()
        self._card = LiveCard(
            services.background,
            message,
            services.pace,
            services.metrics,
            job.channel_id,
            render=lambda: progress_card(self.job, self._snapshot, cancel_view(self.job.id)),
            state=lambda: self._snapshot.shown,
        )
        self._handover = Handover(services, message, self._card)

    @property
    def needs_words(self) -> bool:
        """Whether the prompt will be expanded first, which may take its time."""
        return self.job.expand and self.job.expansion is None

    async def run(self) -> None:
        """Prepare the job and hand it to the engine, or deliver it if its clip is there already."""
        with job_context(self.job.id):
            await self._run()

    async def _run(self) -> None:
        if self.job.state is JobState.RENDERED:
            self._over = True
            lost = await self._handover.deliver_stored(self.job)
            if lost is not None:
                await self._record_end(JobState.FAILED, lost, "lost")
                await self._handover.tell(self.job, failed_card(self.job, lost))
            self._on_end(self.job.id)
            return
        try:
            request = await self._request()
            engine_job = await self._submit(request)
        except EngineClosed:
            return
        except (RequestError, _Unusable) as error:
            await self._end_without_clip(JobState.FAILED, str(error), "refused")
            return
        if engine_job is None:
            return
        self._engine_job = engine_job
        engine_job.subscribe(self._on_event)
        if self._over:
            engine_job.cancel()

    async def show(self) -> None:
        """Show the job as it is, before it is run."""
        await self._card.refresh()

    async def cancel(self) -> bool:
        """End the job, at once and for good; False if its clip is there already."""
        async with self._taking:
            if self._over:
                return False
            # In the store first: who clicked shall not see it come back after a restart.
            if not await self._record_end(JobState.CANCELLED, "cancelled", None):
                return False
        if self._engine_job is not None:
            self._engine_job.cancel()
        await self._handover.tell(self.job, cancelled_card(self.job))
        self._on_end(self.job.id)
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
            owner=str(job.user_id),
            weight=self._services.weight_of(job.guild_id),
            begun=job.attempts > 0,
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
        async with self._taking:
            if not self._over:
                await self._services.store.add_expansion(
                    job.id,
                    expansion.original,
                    expansion.text,
                    expansion.backend,
                    expansion.language,
                )
                self.job = await self._services.store.get_job(job.id) or job
        return expansion.text

    async def _submit(self, request: GenerationRequest) -> Job | None:
        while not self._over:
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
            self._services.background.submit(lambda: self._hear(event))
        elif self._engine_job is not None:
            self._engine_job.cancel()  # the bot that has taken over runs the job

    async def _hear(self, event: Event) -> None:
        with job_context(self.job.id):
            await self._handle(event)

    async def _handle(self, event: Event) -> None:
        match event:
            case Finished(result):
                async with self._taking:
                    generation = await self._record(result)
                if generation is not None:
                    await self._handover.deliver(self.job, generation, result.path)
                    self._on_end(self.job.id)
            case Failed(reason, message):
                await self._end_without_clip(JobState.FAILED, message, reason.value)
            case Cancelled():
                # The engine is closing: the job waits in the store. One that its user cancelled
                # was ended then.
                pass
            case Queued() | Started() | Progress():
                async with self._taking:
                    await self._take_in(event)
                await self._card.refresh()

    async def _take_in(self, event: Queued | Started | Progress) -> None:
        snapshot = self._snapshot
        match event:
            case Queued(position, wait_s, wait_error):
                snapshot.phase, snapshot.position = Phase.QUEUED, position
                snapshot.wait_s, snapshot.wait_error = wait_s, wait_error
            case Started(device):
                again = self._device is not None  # its first machine was lost
                self._began = time.perf_counter()
                self._device = self._services.engine.kind_of(device)
                snapshot.phase = Phase.RENDERING
                if again:
                    self._services.metrics.job_retried("worker_lost")
                    return
                if self.job.attempts > 0:
                    self._services.metrics.job_retried("restart")
                if not self._over:
                    await self._note_start()
                waited = discord.utils.utcnow() - self.job.created_at
                self._services.metrics.job_started(self.job.model, waited.total_seconds())
            case Progress(step, total_steps, preview):
                snapshot.phase = Phase.RENDERING
                snapshot.step, snapshot.total_steps = step, total_steps
                snapshot.elapsed_s = time.perf_counter() - self._began
                snapshot.preview = preview or snapshot.preview

    async def _note_start(self) -> None:
        job_id = self.job.id
        try:
            self.job = await self._services.write(
                lambda store: store.set_job_state(job_id, JobState.RUNNING)
            )
        except StoreError as error:
            logger.warning("the start of job %s was not recorded: %s", self.job.id, error)

    async def _record(self, result: GenerationResult) -> GenerationRecord | None:
        if self._over:  # cancelled while the last step was under way
            await asyncio.to_thread(remove_clip, result.path)
            return None
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
            device=self._device,
        )
        try:
            generation = await self._services.write(lambda store: store.add_generation(new))
        except (IllegalTransitionError, TakenOverError) as error:
            self._leave(error)
            return None
        except StoreError:
            logger.exception("the clip of job %s could not be recorded", self.job.id)
            await self._record_end(JobState.FAILED, _UNRECORDED, "internal")
            await self._handover.tell(self.job, failed_card(self.job, _UNRECORDED))
            self._on_end(self.job.id)
            return None
        self._over = True
        self._services.metrics.job_rendered(
            generation.model, generation.device or "", generation.elapsed_s, generation.steps
        )
        return generation

    async def _end_without_clip(self, state: JobState, words: str, reason: str) -> None:
        async with self._taking:
            if self._over or not await self._record_end(state, words, reason):
                return
        await self._handover.tell(self.job, failed_card(self.job, words))
        self._on_end(self.job.id)

    async def _record_end(self, state: JobState, words: str, reason: str | None) -> bool:
        """Whether the job is ours to end; a store that is out of order does not keep it alive."""
        self._over = True
        job_id = self.job.id
        try:
            self.job = await self._services.write(
                lambda store: store.set_job_state(job_id, state, words, reason)
            )
        except (IllegalTransitionError, TakenOverError) as error:
            self._leave(error)
            return False
        except StoreError:
            logger.exception("the end of job %s could not be recorded", self.job.id)
        self._services.metrics.job_ended(state.value, reason)
        return True

    def _leave(self, error: IllegalTransitionError | TakenOverError) -> None:
        # Another bot has taken over and was faster: its card must stand.
        logger.warning("%s", error)
        self._over = True
        self._card.leave()
        self._on_end(self.job.id)


class _Unusable(Exception):  # noqa: N818 - an outcome, not a fault
    """The job cannot be run any more; the text is for its owner."""
