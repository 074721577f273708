"""Make a finished clip again, delete it, or send it once more."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

import discord

from bot.context import Services
from bot.errors import UserError
from bot.jobs.attachments import Picture
from bot.jobs.fit_upload import ClipNotUploadableError, send_fitted
from bot.jobs.parameters import ClipOrder
from bot.jobs.service import JobService, may_remove
from bot.jobs.storage import REMOVED
from bot.kinds import job_kind
from bot.messages.answers import DiscordRefusedError, DiscordUnavailableError
from bot.messages.cards import CardFile
from bot.messages.removal import remove_message
from bot.messages.responses import replace_thinking
from bot.messages.text import quote
from bot.store import GenerationRecord, JobRecord, JobState
from bot.store.paths import OutsideError, resolve
from engine.serving import ClipParams

logger = logging.getLogger(__name__)

_SEND_S: Final = 120.0
_GONE: Final = "The clip's file is no longer on this machine."


class ClipActions:
    """The actions of users on clips that are there. Interactions have been acknowledged.

    Args:
        client: the bot.
        services: the parts that a job passes through.
        jobs: takes the job of a clip that is made again.
    """

    def __init__(self, client: discord.Client, services: Services, jobs: JobService) -> None:
        self._client = client
        self._services = services
        self._jobs = jobs

    async def reroll(
        self, generation_id: str, interaction: discord.Interaction, answer_id: int | None
    ) -> JobRecord:
        """Make the clip again with another seed.

        Raises as `JobService.submit` does, and UserError for removed clips.
        """
        await self._jobs.admission.check(interaction)
        generation, job = await self._jobs.storage.find_clip(generation_id)
        if generation.removed:
            raise UserError(REMOVED)
        picture = await self._picture(job)
        image = None if picture is None else picture.source
        order = ClipOrder(
            kind=job_kind(job.kind),
            params=ClipParams(**generation.params.stored() | {"seed": None, "image": image}),
            expand=job.expand,
            format=job.format,
            picture=picture,
            asset=None if job.image_asset is None else job.image_asset.as_new(),
            parent_generation_id=generation.id,
            expanded_prompt=generation.expanded_prompt,
        )
        return await self._jobs.submit(order, interaction, answer_id)

    async def delete(self, generation_id: str, interaction: discord.Interaction) -> None:
        """Remove a clip's message, then its files; both or neither.

        Raises UserError: not theirs, unknown, or Discord does not let the message go.
        """
        generation, job = await self._jobs.storage.find_clip(generation_id)
        if not may_remove(job, interaction):
            raise UserError("Only who asked for the clip, or a moderator, can delete it.")
        message = interaction.message
        await remove_message(
            self._client,
            [interaction.delete_original_response, *([] if message is None else [message.delete])],
            self._services.throttle.retries_s(patient=False),
        )
        await self._jobs.storage.remove_clip(job, generation)

    async def resend(self, generation_id: str, interaction: discord.Interaction) -> None:
        """Send users a clip of theirs as the answer; one that had not reached them counts then.

        Raises UserError: not theirs, it is gone, or it cannot be sent there.
        """
        generation, job = await self._jobs.storage.find_clip(generation_id)
        if generation.deleted_at is not None:
            raise UserError("This clip is not known any more.")
        if interaction.user.id != job.user_id:
            raise UserError("Only who asked for the clip can have it sent.")
        clip = await self._file(generation)

        async def send(upload: Path) -> None:
            file = CardFile(f"floor33-{job.id[:12]}{upload.suffix}", upload)
            await replace_thinking(
                interaction,
                lambda: {"content": quote(job.params.prompt, 300), "attachments": [file.open()]},
                self._services.throttle.retries_s(patient=False),
                timeout_s=_SEND_S,
            )

        try:
            await send_fitted(clip, job.format, interaction.filesize_limit, send)
        except ClipNotUploadableError as error:
            raise UserError(f"The clip cannot be uploaded here: {error}") from error
        except DiscordRefusedError as error:
            raise UserError(f"Discord does not take the clip here: {error}") from error
        except DiscordUnavailableError as error:
            logger.warning("a clip was not sent: %s", error)
            raise UserError("Discord did not take the clip. Try again in a minute.") from error
        if job.state is JobState.RENDERED and not self._jobs.is_active(job.id):
            await self._jobs.storage.move(job.id, JobState.DELIVERED)

    async def _picture(self, job: JobRecord) -> Picture | None:
        """Return the picture that the job started from. Raises UserError if it is gone."""
        if job.image_asset is None:
            return None
        try:
            path = resolve(self._services.data_dir, job.image_asset.path)
            content = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            raise UserError("The clip's picture is no longer on this machine.") from error
        return Picture(content, job.image_asset.width, job.image_asset.height)

    async def _file(self, generation: GenerationRecord) -> Path:
        """Return the clip's file. Raises UserError if it is gone."""
        try:
            clip = resolve(self._services.data_dir, generation.path)
        except OutsideError as error:
            logger.error("clip of job %s: %s", generation.job_id, error)
            raise UserError(_GONE) from error
        if not await asyncio.to_thread(clip.is_file):
            raise UserError(_GONE)
        return clip
