"""From the engine's events to the store and to one message: the following of a single job."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import discord

from bot.context import Services
from bot.jobs.delivery import ClipLostError, Handover
from bot.messages.answers import DiscordUnavailableError
from bot.messages.buttons import cancel_view
from bot.messages.cards import (
    CANCELLED,
    FAILED_MARK,
    Phase,
    Snapshot,
    cancelled_card,
    failed_card,
    progress_card,
)
from bot.messages.job_message import CardMessage
from bot.messages.progress import LiveCard
from bot.operations.logs import job_context
from bot.store import (
    GenerationRecord,
    IllegalTransitionError,
    JobRecord,
    JobState,
    NewGeneration,
    Store,
    StoreError,
    TakenOverError,
    UnknownJobError,
)
from bot.store.clip_files import remove_clip
from bot.store.paths import inside, resolve
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
from prompt_expansion import Expansion

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_QUEUE_FULL_WAIT_S: Final = 3.0
_RECORD_S: Final = 10.0
"""How long a finished clip waits for a database that cannot be written."""
_RECORD_END_S: Final = 2.0
"""How long it waits to be recorded that there is no clip, before it is said."""
_NOT_OURS: Final = (IllegalTransitionError, TakenOverError, UnknownJobError)
"""Another bot has taken over and was faster, or the job is gone with the person who asked."""
_INTERNAL: Final = "Something went wrong on our side. It has been logged. Ask again."
_EXPANSION_FAILED: Final = "Prompt expansion failed; your own words are used."


class Follower:
    """Takes one stored job through expansion, rendering and delivery, and shows each on its card.

    `on_end` is told the job's id when it is over, whatever ended it. When the bot closes in
    between, the job stays in the store as it is, for the next start.

    Attributes:
        job: as it was stored last.
        handed_over: set once the engine has the job, or it has ended before.
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
        self.handed_over = asyncio.Event()
        self._services = services
        self._message = message
        self._snapshot = Snapshot(resumed=resumed)
        self._on_end = on_end
        self._task: asyncio.Task[object] | None = None
        self._engine_job: Job | None = None
        self._generation: GenerationRecord | None = None
        self._writes: list[asyncio.Task[Any]] = []
        self._ending: asyncio.Task[None] | None = None
        # Cancelled, failed, or its clip is there: nothing else may become of the job.
        self._over = job.state is JobState.RENDERED
        self._withdrawn = False
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
        """True if the prompt will be expanded first, which may take a while."""
        return self.job.expand and self.job.expansion is None

    async def run(self) -> None:
        """Take the job to its end. Whatever is raised on the way, it has one."""
        self._task = asyncio.current_task()
        with job_context(self.job.id):
            try:
                await self._run_guarded()
                await self._settle()
            finally:
                for write in self._writes:
                    write.cancel()  # only a bot that is closing has any left
                self._card.leave()
                self.handed_over.set()
                self._on_end(self.job.id)

    async def show(self) -> None:
        """Show the job as it is now."""
        await self._card.refresh()

    async def cancel(self, *, silently: bool = False) -> bool:
        """End the job, at once and for good; False if its clip is there already.

        `silently`: nothing is shown, since its message was taken away.
        """
        async with self._taking:
            if self._over:
                return False
            self._over = True
            # In the store first: who clicked shall not see it come back after a restart.
            try:
                await self._begin_end(JobState.CANCELLED, "cancelled", None)
            except _NOT_OURS as error:
                logger.warning("%s", error)
                return False
        if self._engine_job is not None:
            self._engine_job.cancel()
        if silently:
            self._card.leave()
        else:
            card = cancelled_card(self.job)
            self._services.background.submit(lambda: self._handover.tell(self.job, card))
        if self._task is not None:
            self._task.cancel()
        return True

    async def withdraw(self) -> bool:
        """End the job, or the delivery of its clip: its message was deleted.

        Returns:
            Whether the job was cancelled; otherwise its clip was there already.
        """
        if await self.cancel(silently=True):
            return True
        self._withdrawn = True
        self._card.leave()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        return False

    # ------------------------------------------------------------------ the way of a job

    async def _run_guarded(self) -> None:
        try:
            await self._run()
        except EngineClosed:
            pass  # the job waits in the store
        except asyncio.CancelledError:
            if not self._over:
                raise
            # Ended by `cancel` or `withdraw`; or the bot is closing, and the next one may need it.
            made = self._engine_job if self._generation is None else None
            if made is not None and (self._withdrawn or made.cancel_requested):
                made.subscribe(_remove_finished)
        except _NOT_OURS as error:
            # Its card must stand.
            logger.warning("%s", error)
            self._over = True
        except Exception:  # the one place where a job's end is guaranteed
            logger.exception("job %s failed", self.job.id)
            await self._end_unexpectedly()

    async def _settle(self) -> None:
        """Wait until the end is recorded, however long the database takes, unless the bot ends."""
        if self._ending is None or self._services.background.closed:
            return
        try:
            await self._ending
        except _NOT_OURS as error:
            logger.warning("%s", error)

    async def _run(self) -> None:
        if self._withdrawn:
            return
        if self.job.state is JobState.RENDERED:
            await self._unless_lost(self._handover.deliver_stored(self.job))
            return
        if self._over or await self._told_before():
            return
        try:
            request = await self._request()
            engine_job = await self._submit(request)
        except (RequestError, _Unusable) as error:
            await self._end_without_clip(JobState.FAILED, str(error), "refused")
            return
        if engine_job is None:
            return
        self._engine_job = engine_job
        self._snapshot.unread = engine_job.settings.unread
        self._snapshot.unread_negative = engine_job.settings.unread_negative
        self.handed_over.set()
        if (result := await self._follow(engine_job)) is not None:
            await self._finish(result)

    async def _follow(self, engine_job: Job) -> GenerationResult | None:
        """Take in the engine's events; returns the clip, or None if the job ended without one."""
        async with contextlib.aclosing(engine_job.events()) as events:
            async for event in events:
                if not self._services.lease.is_held():
                    engine_job.cancel()  # the bot that has taken over runs the job
                    self._over = True
                    return None
                match event:
                    case Finished(result):
                        return result
                    case Failed(reason, message):
                        await self._end_without_clip(JobState.FAILED, message, reason.value)
                        return None
                    case Cancelled():
                        # The engine is closing: the job waits in the store. One that its user
                        # cancelled was ended then.
                        return None
                    case Queued() | Started() | Progress():
                        self._take_in(event)
                        # Never waited for: work does not wait for showing.
                        self._services.background.submit(self._card.refresh)
        return None

    async def _finish(self, result: GenerationResult) -> None:
        """Record the clip and deliver it."""
        async with self._taking:
            if self._over:  # cancelled while the last step was under way
                await asyncio.to_thread(remove_clip, result.path)
                return
            self._over = True
            new = self._new_generation(result)
            recorded = self._write(lambda store: store.add_generation(new))
            await asyncio.wait({recorded}, timeout=_RECORD_S)
            # Made, though the database may take it later only: its owner shall have it now.
            try:
                self._generation = recorded.result() if recorded.done() else new.unrecorded()
            except UnknownJobError:
                # The person was forgotten meanwhile, so nobody else knows of this file.
                await asyncio.to_thread(remove_clip, result.path)
                raise
        generation = self._generation
        self._services.metrics.job_rendered(
            generation.model, generation.device or "", generation.elapsed_s, generation.steps
        )
        await self._unless_lost(self._handover.deliver(self.job, generation, result.path, recorded))

    async def _unless_lost(self, delivery: Awaitable[None]) -> None:
        try:
            await delivery
        except ClipLostError as error:
            await self._record_end(JobState.FAILED, str(error), "lost")
            await self._handover.tell(self.job, failed_card(self.job, str(error)))

    async def _told_before(self) -> bool:
        """Record an end that the last run told but could not record; return whether it had one."""
        if not self._snapshot.resumed:
            return False
        try:
            said = await self._message.content() or ""
        except DiscordUnavailableError:
            return False
        if said != CANCELLED and not said.startswith(FAILED_MARK):
            return False
        self._over = True
        state = JobState.CANCELLED if said == CANCELLED else JobState.FAILED
        await self._record_end(state, said.removeprefix(FAILED_MARK).strip(), "told")
        return True

    # ------------------------------------------------------------------ to the engine

    async def _request(self) -> GenerationRequest:
        job = self.job
        image = None
        if job.image_asset is not None:
            try:
                path = resolve(self._services.data_dir, job.image_asset.path)
                image = await asyncio.to_thread(path.read_bytes)
            except (OSError, ValueError) as error:
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
        """Return what the model is given: the expanded prompt, if one is wanted."""
        job = self.job
        if job.expansion is not None:
            return job.expansion.expanded
        if not job.expand:
            return job.prompt
        self._snapshot.phase = Phase.EXPANDING
        self._services.background.submit(self._card.refresh)
        expansion = await self._expanded(job.prompt)
        if expansion.fallback is not None:
            logger.info("job %s keeps the user's words: %s", job.id, expansion.fallback)
        await self._write(
            lambda store: store.add_expansion(
                job.id,
                expansion.original,
                expansion.text,
                expansion.backend,
                expansion.language,
                expansion.fallback,
            )
        )
        stored = await self._services.write(lambda store: store.get_job(job.id))
        self.job = job if stored is None else stored
        return expansion.text

    async def _expanded(self, prompt: str) -> Expansion:
        try:
            return await self._services.expander.expand(prompt)
        except Exception:  # a clip is worth more than its adjectives
            logger.exception("prompt expansion failed")
            return Expansion(
                text=prompt,
                original=prompt,
                tokens=0,
                backend="none",
                language="und",
                fallback=_EXPANSION_FAILED,
            )

    async def _submit(self, request: GenerationRequest) -> Job | None:
        while not self._over:
            submitting = asyncio.ensure_future(
                asyncio.to_thread(self._services.engine.submit, request)
            )
            try:
                return await asyncio.shield(submitting)
            except asyncio.CancelledError:
                submitting.add_done_callback(_cancel_submitted)
                raise
            except QueueFullError:
                # Accepted is accepted: the job waits here until the engine's queue has room.
                await asyncio.sleep(_QUEUE_FULL_WAIT_S)
        return None

    # ---------------------------------------------------------------- from the engine

    def _take_in(self, event: Queued | Started | Progress) -> None:
        snapshot = self._snapshot
        match event:
            case Queued(position, wait_s, wait_error):
                snapshot.phase, snapshot.position = Phase.QUEUED, position
                snapshot.wait_s, snapshot.wait_error = wait_s, wait_error
            case Started(device):
                self._start(device)
            case Progress(step, total_steps, preview):
                snapshot.phase = Phase.RENDERING
                snapshot.step, snapshot.total_steps = step, total_steps
                snapshot.elapsed_s = time.perf_counter() - self._began
                snapshot.preview = preview or snapshot.preview

    def _start(self, device: str) -> None:
        again = self._device is not None  # its first machine was lost
        self._began = time.perf_counter()
        self._device = self._services.engine.kind_of(device)
        self._snapshot.phase = Phase.RENDERING
        metrics = self._services.metrics
        if again:
            metrics.job_retried("worker_lost")
            return
        if self.job.attempts > 0:
            metrics.job_retried("restart")
        if not self._over:
            job_id = self.job.id
            self._write(lambda store: store.set_job_state(job_id, JobState.RUNNING))
        waited = discord.utils.utcnow() - self.job.created_at
        metrics.job_started(self.job.model, max(0.0, waited.total_seconds()))

    def _new_generation(self, result: GenerationResult) -> NewGeneration:
        expansion = self.job.expansion
        return NewGeneration(
            job_id=self.job.id,
            prompt=self.job.prompt,
            expanded_prompt=(
                None if expansion is None or expansion.fallback is not None else expansion.expanded
            ),
            negative_prompt=result.params.negative_prompt,
            unread=result.unread,
            unread_negative=result.unread_negative,
            model=result.params.model,
            model_revision=result.model_revision,
            seed=result.params.seed,
            steps=result.params.steps,
            fps=result.params.fps,
            guidance=result.params.guidance,
            width=result.params.width,
            height=result.params.height,
            num_frames=result.params.num_frames,
            path=inside(self._services.data_dir, result.path),
            elapsed_s=result.elapsed_s,
            device=self._device,
        )

    # ------------------------------------------------------------------------ the end

    async def _end_without_clip(self, state: JobState, words: str, reason: str) -> None:
        """Record why there is no clip and say so, in this order where the database allows it."""
        async with self._taking:
            if self._over:
                return
            self._over = True
            await self._begin_end(state, words, reason)
        await self._handover.tell(self.job, failed_card(self.job, words))

    async def _end_unexpectedly(self) -> None:
        """After a fault of ours: the clip is kept for /history, or the job has failed."""
        try:
            if self._generation is not None or self.job.state is JobState.RENDERED:
                await self._handover.abandon(self.job, self._generation)
                return
            self._over = False
            await self._end_without_clip(JobState.FAILED, _INTERNAL, "internal")
        except Exception:  # nothing is left that could be done for it in this run
            logger.exception("the end of job %s could not be recorded", self.job.id)

    async def _begin_end(self, state: JobState, words: str, reason: str | None) -> None:
        """Record the end; where the database does not allow it at once, `_settle` waits for it."""
        self._ending = asyncio.create_task(self._record_end(state, words, reason))
        self._ending.add_done_callback(_look_at)
        await asyncio.wait({self._ending}, timeout=_RECORD_END_S)
        if self._ending.done():
            self._ending.result()

    async def _record_end(self, state: JobState, words: str, reason: str | None) -> None:
        job_id = self.job.id
        try:
            self.job = await self._write(
                lambda store: store.set_job_state(job_id, state, words, reason)
            )
        except _NOT_OURS:
            raise
        except StoreError:
            logger.exception("the end of job %s could not be recorded", job_id)
        self._services.metrics.job_ended(state.value, reason)

    def _write(self, write: Callable[[Store], Awaitable[Result]]) -> asyncio.Task[Result]:
        """Begin a write, which is made once the ones before are done and the database allows it."""
        before = self._writes[-1:]

        async def written() -> Result:
            if before:
                await asyncio.wait(before)
            return await self._services.write(write)

        task = asyncio.create_task(written())
        task.add_done_callback(_look_at)
        self._writes = [*before, task]
        return task


class _Unusable(Exception):  # noqa: N818 - an outcome, not a fault
    """The job cannot be run any more; the text is for its owner."""


def _look_at(write: asyncio.Task[Any]) -> None:
    """Retrieve the error of a write that nobody waits for any more."""
    if not write.cancelled() and (error := write.exception()) is not None:
        logger.info("a write failed: %s", error)


def _cancel_submitted(submitting: asyncio.Future[Job]) -> None:
    """Cancel what the engine took when nobody waited for it any more."""
    if not submitting.cancelled() and submitting.exception() is None:
        submitting.result().cancel()


def _remove_finished(event: Event) -> None:
    """Remove a clip that was finished though its job had been cancelled."""
    if isinstance(event, Finished):
        remove_clip(event.result.path)
