"""The last steps of a job: its clip, or why there is none, to its user and into the store."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from bot.cards import Card, clip_card
from bot.delivery import CardMessage, Place, TooLarge, Undeliverable
from bot.livecard import TRANSIENT, LiveCard
from bot.packing import CannotPack, packed
from bot.paths import resolve
from bot.ratings import THUMBS
from bot.services import Services
from bot.store import GenerationRecord, JobRecord, JobState, StoreError
from bot.views import clip_mark, clip_view

logger = logging.getLogger(__name__)

LOST: Final = "The finished clip was lost before it could be sent. Ask again."
UNDELIVERABLE: Final = "Message, channel and direct messages are closed to the bot."
_SIZES_TRIED: Final = 4
_SHRINK: Final = 0.7
"""Of the size that was refused, for the next try."""


class Handover:
    """Delivers one job's clip, once.

    The message comes before the row that says so: when the process ends in between, the next one
    looks for the message before it sends another.

    Args:
        services: the bot's.
        message: where the job is shown.
        card: the same, as it changed while the job went on.
    """

    def __init__(self, services: Services, message: CardMessage, card: LiveCard) -> None:
        self._services = services
        self._message = message
        self._card = card

    async def deliver(self, job: JobRecord, generation: GenerationRecord, clip: Path) -> None:
        """Show the clip and note that it was delivered.

        It takes as long as Discord is out of order. A clip that nobody can be shown, or that is
        refused for another reason, stays "rendered": /history offers it, the next start tries it.
        """
        try:
            place = await self._show(job, generation, clip)
        except Undeliverable as error:
            logger.warning("job %s: %s", job.id, error)
            await self._undelivered(job, UNDELIVERABLE)
            self._card.leave()
        except TRANSIENT as error:
            logger.error("the clip of job %s was refused: %s", job.id, error)
            await self._undelivered(job, f"Discord refused it: {error}")
        else:
            await self._delivered(job, place)

    async def deliver_stored(self, job: JobRecord) -> str | None:
        """Deliver a clip that an earlier run has made, unless it has delivered it as well.

        Returns:
            Why there is nothing to deliver, else None.
        """
        generation = await self._services.store.generation_by_job(job.id)
        if generation is None:
            return LOST
        if (place := await self._sent_before(job, generation)) is not None:
            logger.info("the clip of job %s had been sent already", job.id)
            self._card.leave()
            await self._delivered(job, place)
            return None
        path = resolve(self._services.data_dir, generation.path)
        if not await asyncio.to_thread(path.is_file):
            return LOST
        await self.deliver(job, generation, path)
        return None

    async def tell(self, job: JobRecord, card: Card) -> None:
        """Show how the job ended without a clip; not for ever, for the store has it."""
        try:
            await self._note(job, await self._card.conclude(card))
        except (*TRANSIENT, Undeliverable, TooLarge) as error:
            logger.warning("the end of job %s was not shown: %s", job.id, error)

    async def _show(self, job: JobRecord, generation: GenerationRecord, clip: Path) -> Place | None:
        view, limit, metrics = clip_view(generation.id), job.upload_limit, self._services.metrics
        problem = "Discord takes no file of its size."
        for _ in range(_SIZES_TRIED):
            try:
                upload = await packed(clip, job.format, limit)
            except CannotPack as error:
                problem = str(error)
                break
            if upload != clip:
                metrics.upload_encoded(job.format)
            card = clip_card(job, generation, view, upload=upload, reduced=upload != clip)
            try:
                return await self._card.conclude(card, patient=True)
            except TooLarge:
                # What the interaction told was wrong, or Discord has changed its mind.
                limit = int(_SHRINK * upload.stat().st_size)
                metrics.upload_retried("too_large")
                logger.info("job %s: %s was too large; trying %d bytes", job.id, upload, limit)
        card = clip_card(job, generation, view, problem=problem)
        return await self._card.conclude(card, patient=True)

    async def _sent_before(self, job: JobRecord, generation: GenerationRecord) -> Place | None:
        try:
            return await self._message.find(clip_mark(generation.id), job.created_at)
        except TRANSIENT as error:
            # Without an answer the message is edited to what it may show already; should there be
            # none, Discord knows the nonce of one that was sent minutes ago.
            logger.warning("job %s: it is not known whether its clip was sent: %s", job.id, error)
            return None

    async def _delivered(self, job: JobRecord, place: Place | None) -> None:
        await self._note(job, place)
        await self._services.write(lambda store: store.set_job_state(job.id, JobState.DELIVERED))
        self._services.metrics.job_ended(JobState.DELIVERED.value)
        await self._card.seed_reactions(*THUMBS)

    async def _undelivered(self, job: JobRecord, why: str) -> None:
        await self._services.write(lambda store: store.note_undelivered(job.id, why))

    async def _note(self, job: JobRecord, place: Place | None) -> None:
        if place is None or place.message_id == job.message_id:
            return
        try:
            await self._services.store.set_message(job.id, place.channel_id, place.message_id)
        except StoreError as error:
            logger.warning("the message of job %s was not recorded: %s", job.id, error)
