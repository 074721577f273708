"""Run one stored job: prepare it, follow the engine's events, deliver its clip."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from bot.context import Services
from bot.errors import PictureMissingError
from bot.jobs.delivery import ClipLostError, JobDelivery
from bot.jobs.preparation import JobPreparation, discard_clip
from bot.jobs.recorder import NOT_OURS, JobRecorder
from bot.jobs.tracking import JobTracker
from bot.messages.answers import DiscordUnavailableError
from bot.messages.buttons import cancel_view
from bot.messages.cards import cancelled_card, end_shown, failed_card, progress_card
from bot.messages.job_message import JobMessage
from bot.messages.progress import ProgressMessage
from bot.operations.logs import job_context
from bot.store import GenerationRecord, JobRecord, JobState, UnknownJobError
from bot.store.clip_files import remove_clip
from engine.serving import (
    Cancelled,
    EngineClosed,
    Failed,
    Finished,
    GenerationResult,
    Job,
    Progress,
    Queued,
    RequestError,
    ResolvedSettings,
    Started,
)

logger = logging.getLogger(__name__)

_RECORD_S: Final = 10.0
"""Seconds that a finished clip waits for a database that cannot be written."""
_INTERNAL: Final = "Something went wrong on our side. It has been logged. Ask again."


class JobRunner:
    """Takes one job through expansion, rendering and delivery, and shows each in its message.

    When the bot closes in between, the job stays in the store as it is, for the next start.

    Args:
        services: the parts that a job passes through.
        job: as stored.
        message: where it is shown.
        resolved: the settings that the job was accepted with; None: it is one of the last run's.
        on_end: is told the job's id when it is over, whatever ended it.

    Attributes:
        handed_over: set once the engine has the job, or it has ended before.
    """

    def __init__(
        self,
        services: Services,
        job: JobRecord,
        message: JobMessage,
        *,
        resolved: ResolvedSettings | None,
        on_end: Callable[[str], None],
    ) -> None:
        self.handed_over = asyncio.Event()
        self._services = services
        self._message = message
        self._resumed = resolved is None
        self._on_end = on_end
        self._task: asyncio.Task[object] | None = None
        self._handle: Job | None = None
        self._generation: GenerationRecord | None = None
        # Cancelled, failed, or its clip is there: nothing else may become of the job.
        self._over = job.state is JobState.RENDERED
        self._withdrawn = False
        # Events and a cancellation are taken in one at a time, in their order.
        self._taking = asyncio.Lock()
        self._recorder = JobRecorder(services, job)
        self._preparation = JobPreparation(services, self._recorder, resolved)
        self._tracker = JobTracker(services, resumed=self._resumed)
        snapshot = self._tracker.snapshot
        self._progress = ProgressMessage(
            services.background,
            message,
            services.throttle,
            services.metrics,
            job.channel_id,
            render=lambda: progress_card(self.job, snapshot, cancel_view(self.job.id)),
            state=lambda: snapshot.shown,
        )
        self._delivery = JobDelivery(services, message, self._progress)

    @property
    def job(self) -> JobRecord:
        """The job as it was stored last."""
        return self._recorder.job

    @property
    def needs_expansion(self) -> bool:
        """True if the prompt will be expanded first, which may take a while."""
        return self._preparation.needs_expansion

    async def run(self) -> None:
        """Take the job to its end. Whatever is raised on the way, it has one."""
        self._task = asyncio.current_task()
        with job_context(self.job.id):
            try:
                await self._run_guarded()
                await self._recorder.settle()
            finally:
                self._recorder.close()
                self._progress.leave()
                self.handed_over.set()
                self._on_end(self.job.id)

    async def show(self) -> None:
        """Show the job as it is now."""
        await self._progress.refresh()

    async def cancel(self, *, silently: bool = False) -> bool:
        """End the job, at once and for good; return False if its clip is there already.

        `silently`: nothing is shown, since its message was taken away.
        """
        async with self._taking:
            if self._over:
                return False
            self._over = True
            # In the store first: who clicked shall not see it come back after a restart.
            try:
                await self._recorder.start_end(JobState.CANCELLED, "cancelled", None)
            except NOT_OURS as error:
                logger.warning("%s", error)
                return False
        if self._handle is not None:
            self._handle.cancel()
        if silently:
            self._progress.leave()
        else:
            card = cancelled_card(self.job)
            self._services.background.submit(lambda: self._delivery.show_end(self.job, card))
        if self._task is not None:
            self._task.cancel()
        return True

    async def withdraw(self) -> bool:
        """End the job, or the delivery of its clip: its message was deleted.

        Returns:
            True if the job was cancelled; otherwise its clip was there already.
        """
        if await self.cancel(silently=True):
            return True
        self._withdrawn = True
        self._progress.leave()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        return False

    async def _run_guarded(self) -> None:
        try:
            await self._run()
        except EngineClosed:
            pass  # the job waits in the store
        except asyncio.CancelledError:
            if not self._over:
                raise
            # Ended by `cancel` or `withdraw`; or the bot is closing, and the next one may need it.
            made = self._handle if self._generation is None else None
            if made is not None and (self._withdrawn or made.cancel_requested):
                discard_clip(made)
        except NOT_OURS as error:
            # Its card must stand.
            logger.warning("%s", error)
            self._over = True
        except Exception:  # the one place where a job's end is guaranteed
            logger.exception("job %s failed", self.job.id)
            await self._end_unexpectedly()

    async def _run(self) -> None:
        if self._withdrawn:
            return
        if self.job.state is JobState.RENDERED:
            await self._unless_lost(self._delivery.deliver_stored(self.job))
            return
        if self._over or await self._ended_before():
            return
        try:
            settings = await self._preparation.settings(self._on_expanding)
            handle = await self._preparation.enqueue(settings, lambda: self._over)
        except (RequestError, PictureMissingError) as error:
            await self._end_without_clip(JobState.FAILED, str(error), "refused")
            return
        if handle is None:
            return
        self._handle = handle
        self._tracker.note_unread(handle.settings)
        self.handed_over.set()
        if (result := await self._follow(handle)) is not None:
            await self._finish(result)

    def _on_expanding(self) -> None:
        self._tracker.enter_expansion()
        self._services.background.submit(self._progress.refresh)

    async def _follow(self, handle: Job) -> GenerationResult | None:
        """Take in the engine's events; return the clip, or None if the job ended without one."""
        async with contextlib.aclosing(handle.events()) as events:
            async for event in events:
                if not self._services.lease.is_held():
                    handle.cancel()  # the bot that has taken over runs the job
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
                        if self._tracker.on_event(event, self.job) and not self._over:
                            self._recorder.start()
                        # Never waited for: work does not wait for showing.
                        self._services.background.submit(self._progress.refresh)
        return None

    async def _finish(self, result: GenerationResult) -> None:
        """Record the clip and deliver it."""
        async with self._taking:
            if self._over:  # cancelled while the last step was under way
                await asyncio.to_thread(remove_clip, result.path)
                return
            self._over = True
            new = self._recorder.new_generation(result, self._tracker.device)
            recorded = self._recorder.write(lambda store: store.add_generation(new))
            await asyncio.wait({recorded}, timeout=_RECORD_S)
            # Made, though the database may take it later only: its owner shall have it now.
            try:
                self._generation = recorded.result() if recorded.done() else new.unrecorded()
            except UnknownJobError:
                # The person was forgotten meanwhile, so nobody else knows of this file.
                await asyncio.to_thread(remove_clip, result.path)
                raise
        generation = self._generation
        self._tracker.on_rendered(generation)
        await self._unless_lost(self._delivery.deliver(self.job, generation, result.path, recorded))

    async def _unless_lost(self, delivery: Awaitable[None]) -> None:
        try:
            await delivery
        except ClipLostError as error:
            await self._recorder.record_end(JobState.FAILED, str(error), "lost")
            await self._delivery.show_end(self.job, failed_card(self.job, str(error)))

    async def _ended_before(self) -> bool:
        """Record an end that the last run showed but could not record; return if it had one."""
        if not self._resumed:
            return False
        try:
            shown = end_shown(await self._message.content() or "")
        except DiscordUnavailableError:
            return False
        if shown is None:
            return False
        self._over = True
        await self._recorder.record_end(*shown, "told")
        return True

    async def _end_without_clip(self, state: JobState, words: str, reason: str) -> None:
        """Record why there is no clip and say so, in this order where the database allows it."""
        async with self._taking:
            if self._over:
                return
            self._over = True
            await self._recorder.start_end(state, words, reason)
        await self._delivery.show_end(self.job, failed_card(self.job, words))

    async def _end_unexpectedly(self) -> None:
        """After a fault of ours: the clip is kept for /history, or the job has failed."""
        try:
            if self._generation is not None or self.job.state is JobState.RENDERED:
                await self._delivery.abandon(self.job, self._generation)
                return
            self._over = False
            await self._end_without_clip(JobState.FAILED, _INTERNAL, "internal")
        except Exception:  # nothing is left that could be done for it in this run
            logger.exception("the end of job %s could not be recorded", self.job.id)
