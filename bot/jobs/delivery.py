"""Deliver a job's clip, or say why there is none, and record it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bot.context import Services
from bot.errors import BotError
from bot.jobs.fit_upload import ClipNotUploadableError, send_fitted
from bot.messages.answers import (
    DiscordRefusedError,
    DiscordUnavailableError,
    UndeliverableError,
    UploadTooLargeError,
)
from bot.messages.buttons import clip_mark, clip_view, undelivered_view
from bot.messages.card_fields import MessageRef
from bot.messages.cards import Card, clip_card, undelivered_card
from bot.messages.job_message import JobMessage
from bot.messages.progress import ProgressMessage
from bot.messages.thumbs import THUMBS
from bot.store import GenerationRecord, JobRecord, JobState, StoreError
from bot.store.paths import OutsideError, resolve

logger = logging.getLogger(__name__)

LOST: Final = "The finished clip was lost before it could be sent. Ask again."
WAITING: Final = "Discord is out of order; the clip is sent as soon as possible."
UNSENT: Final = "Something went wrong while it was sent; it has been logged."
UNDELIVERED: Final = "undelivered"
BLOCKED: Final = "blocked"
"""Reasons of a rendered job whose clip is not shown: to be tried again now and then, or never."""
_WORTH_A_NOTE_S: Final = 60.0


class ClipLostError(BotError):
    """The clip's file is not there any more; the text is for its owner."""

    def __init__(self) -> None:
        super().__init__(LOST)


class JobDelivery:
    """Delivers one job's clip, once.

    The message comes before the row that says so: when the process ends in between, the next one
    looks for the message before it sends another.

    Args:
        services: the bot's.
        message: where the job is shown.
        progress: the same, as it changed while the job went on.
    """

    def __init__(self, services: Services, message: JobMessage, progress: ProgressMessage) -> None:
        self._services = services
        self._message = message
        self._progress = progress

    async def deliver(
        self,
        job: JobRecord,
        generation: GenerationRecord,
        clip: Path,
        recorded: asyncio.Task[GenerationRecord] | None = None,
    ) -> None:
        """Show the clip and note that it was delivered.

        It takes as long as Discord is out of order. A clip that nobody can be shown stays
        "rendered": its card says so, /history offers it, and it is tried again now and then.

        Args:
            job: rendered.
            generation: its clip.
            clip: the file.
            recorded: the write that makes the job rendered, where that is not done yet.

        Raises:
            ClipLostError: the file is gone.
            StoreError: of a kind that does not pass by itself.
        """
        try:
            place = await self._show(job, generation, clip)
        except UndeliverableError as error:
            logger.warning("job %s: %s", job.id, error)
            if recorded is not None:
                await recorded
            await self._undelivered(job, generation, error)
        except OSError as error:
            if await asyncio.to_thread(clip.is_file):
                raise
            raise ClipLostError from error
        else:
            if recorded is not None:
                await recorded
            await self._delivered(job, place)

    async def deliver_stored(self, job: JobRecord) -> None:
        """Deliver a clip that an earlier run has made, unless it has delivered it as well.

        Raises:
            ClipLostError: there is nothing to deliver.
        """
        generation = await self._services.write(lambda store: store.generation_by_job(job.id))
        if generation is None:
            raise ClipLostError
        if (place := await self._sent_before(generation)) is not None:
            logger.info("the clip of job %s had been sent already", job.id)
            self._progress.leave()
            await self._delivered(job, place)
            return
        try:
            path = resolve(self._services.data_dir, generation.path)
        except OutsideError as error:
            logger.error("the clip of job %s: %s", job.id, error)
            raise ClipLostError from error
        if not await asyncio.to_thread(path.is_file):
            raise ClipLostError
        await self.deliver(job, generation, path)

    async def show_end(self, job: JobRecord, card: Card) -> None:
        """Show how the job ended without a clip; not for ever, for the store has it."""
        with self._services.shutdown.last_words():
            try:
                await self._note(job, await self._progress.conclude(card))
            except (DiscordUnavailableError, DiscordRefusedError, UndeliverableError) as error:
                logger.warning("the end of job %s was not shown: %s", job.id, error)

    async def abandon(self, job: JobRecord, generation: GenerationRecord | None) -> None:
        """Note that a clip could not be sent for a fault of ours, and say so."""
        self._progress.leave()
        await self._services.write(
            lambda store: store.note_undelivered(job.id, UNSENT, UNDELIVERED)
        )
        if generation is not None:
            await self._announce(job, generation, UNSENT)

    async def _show(
        self, job: JobRecord, generation: GenerationRecord, clip: Path
    ) -> MessageRef | None:
        view, metrics = clip_view(generation.id), self._services.metrics
        began, noted = time.perf_counter(), False

        def waiting(pause_s: float) -> None:
            nonlocal noted
            # Discord may ask for an hour at once.
            if not noted and time.perf_counter() - began + pause_s > _WORTH_A_NOTE_S:
                noted = True
                self._services.background.submit(lambda: self._note_waiting(job))

        async def send(upload: Path) -> MessageRef | None:
            if upload != clip:
                metrics.upload_encoded(job.format)
            card = clip_card(job, generation, view, upload=upload, reduced=upload != clip)
            try:
                return await self._progress.conclude(card, patient=True, on_wait=waiting)
            except UploadTooLargeError:
                metrics.upload_retried("too_large")
                raise

        try:
            return await send_fitted(clip, job.format, job.upload_limit, send)
        except ClipNotUploadableError as error:
            card = clip_card(job, generation, view, problem=str(error))
        try:
            return await self._progress.conclude(card, patient=True, on_wait=waiting)
        except UploadTooLargeError as error:
            raise UndeliverableError(f"Discord refused it: {error}") from error

    async def _sent_before(self, generation: GenerationRecord) -> MessageRef | None:
        try:
            return await self._message.find(clip_mark(generation.id))
        except DiscordUnavailableError as error:
            # Without an answer the message is edited to what it may show already; should there be
            # none, Discord knows the nonce of one that was sent minutes ago.
            logger.warning(
                "job %s: it is not known whether its clip was sent: %s", generation.job_id, error
            )
            return None

    async def _delivered(self, job: JobRecord, place: MessageRef | None) -> None:
        await self._note(job, place)
        # Before the state: a bot that is killed in between finds the message and goes on.
        left = await self._react(THUMBS)
        await self._services.write(lambda store: store.set_job_state(job.id, JobState.DELIVERED))
        self._services.metrics.job_ended(JobState.DELIVERED.value)
        if left:
            self._services.background.submit(lambda: self._react_later(left))

    async def _react(self, emoji: Sequence[str]) -> list[str]:
        """Add reactions, each by itself, and return those that may be tried again."""
        left = []
        for one in emoji:
            try:
                await self._message.react(one)
            except DiscordUnavailableError as error:
                logger.info("no reaction yet: %s", error)
                left.append(one)
            except DiscordRefusedError as error:
                logger.info("no reaction: %s", error)
        return left

    async def _react_later(self, left: Sequence[str]) -> None:
        for pause in self._services.throttle.retries_s(patient=False):
            await asyncio.sleep(pause)
            if not (left := await self._react(left)):
                return
        logger.warning("no reactions on a clip: Discord was out of order for too long")

    async def _undelivered(
        self, job: JobRecord, generation: GenerationRecord, error: UndeliverableError
    ) -> None:
        reason = BLOCKED if error.blocked else UNDELIVERED
        await self._services.write(lambda store: store.note_undelivered(job.id, str(error), reason))
        await self._announce(job, generation, str(error))

    async def _announce(self, job: JobRecord, generation: GenerationRecord, why: str) -> None:
        """Have the card say that there is a clip which cannot be shown."""
        card = undelivered_card(job, why, undelivered_view(generation.id))
        try:
            await self._note(job, await self._progress.conclude(card))
        except (DiscordUnavailableError, DiscordRefusedError, UndeliverableError) as error:
            logger.warning("job %s: its card could not say so: %s", job.id, error)

    async def _note_waiting(self, job: JobRecord) -> None:
        try:
            await self._services.store.note_undelivered(job.id, WAITING, UNDELIVERED)
        except StoreError as error:
            logger.info("job %s: that it waits was not noted: %s", job.id, error)

    async def _note(self, job: JobRecord, place: MessageRef | None) -> None:
        if place is None or place.message_id == job.message_id:
            return
        try:
            await self._services.write(
                lambda store: store.set_message(job.id, place.channel_id, place.message_id)
            )
        except StoreError as error:
            logger.warning("the message of job %s was not recorded: %s", job.id, error)
