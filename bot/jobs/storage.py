"""Store accepted jobs with their pictures, and remove the files that nothing needs any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import discord

from bot.context import Services
from bot.errors import UserError
from bot.jobs.attachments import keep
from bot.jobs.parameters import ClipOrder
from bot.settings import Settings
from bot.store import (
    GenerationRecord,
    IllegalTransitionError,
    JobRecord,
    JobState,
    NewAsset,
    NewJob,
)
from bot.store.clip_files import remove_picture, remove_stored_clip
from engine.serving import ResolvedSettings

logger = logging.getLogger(__name__)

REMOVED: Final = "This clip was deleted, so it cannot be rolled again."


class JobStorage:
    """The rows and files of jobs.

    Args:
        settings: tell where files lie and whether prompts are expanded.
        services: the store.
        check_quota: raises UserError unless the interaction's user may have one more job.
    """

    def __init__(
        self,
        settings: Settings,
        services: Services,
        check_quota: Callable[[discord.Interaction], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._services = services
        self._check_quota = check_quota
        # Counting a user's jobs and adding one must not overlap with another command's, nor keeping
        # a picture with taking it away.
        self._lock = asyncio.Lock()

    async def add(
        self,
        order: ClipOrder,
        resolved: ResolvedSettings,
        interaction: discord.Interaction,
        answer_id: int | None,
    ) -> JobRecord:
        """Store a job with its picture. Raises UserError where there is no room for it."""
        async with self._lock:
            await self._check_quota(interaction)
            await self._check_parent(order.parent_generation_id)
            asset = order.asset
            if asset is None and order.picture is not None:
                asset = await keep(order.picture, self._settings.data_dir)
            new = self._new_job(order, resolved, asset, interaction, answer_id)
            job = await self._services.store.create_job(new)
        self._services.metrics.job_accepted(job.kind, job.params.model)
        return job

    async def find_clip(self, generation_id: str) -> tuple[GenerationRecord, JobRecord]:
        """Return a clip and its job. Raises UserError if there is no such clip."""
        store = self._services.store
        generation = await store.get_generation(generation_id)
        job = None if generation is None else await store.get_job(generation.job_id)
        if generation is None or job is None:
            raise UserError("This clip is not known any more.")
        return generation, job

    async def remove_clip(self, job: JobRecord, generation: GenerationRecord) -> None:
        """Remove a clip whose message is gone, with the words and the picture it was made of.

        The files first, which makes room for the row.
        """
        await asyncio.to_thread(remove_stored_clip, self._settings.data_dir, generation.path)
        await self._services.write(lambda store: store.remove_clip(generation.id))
        if job.state is JobState.RENDERED:
            await self.move(job.id, JobState.CANCELLED, "deleted", "deleted")
        await self.drop_picture(job.id)

    async def drop_picture(self, job_id: str) -> None:
        """Delete the picture of a job that is over, unless a clip or another job needs it."""
        async with self._lock:
            picture = await self._services.store.unneeded_picture(job_id)
            if picture is not None:
                await asyncio.to_thread(remove_picture, self._settings.data_dir, picture)

    async def move(self, job_id: str, state: JobState, *why: str) -> None:
        """Move a rendered job on, unless its delivery or another click was faster."""
        try:
            await self._services.write(lambda store: store.set_job_state(job_id, state, *why))
        except IllegalTransitionError as error:
            logger.info("%s", error)

    async def _check_parent(self, generation_id: str | None) -> None:
        """Refuse a re-roll of a clip that was deleted since its words were read."""
        if generation_id is not None:
            parent = await self._services.store.get_generation(generation_id)
            if parent is None or parent.removed:
                raise UserError(REMOVED)

    def _new_job(
        self,
        order: ClipOrder,
        resolved: ResolvedSettings,
        asset: NewAsset | None,
        interaction: discord.Interaction,
        answer_id: int | None,
    ) -> NewJob:
        expand = self._settings.expansion.enabled if order.expand is None else order.expand
        return NewJob(
            user_id=interaction.user.id,
            user_name=interaction.user.name,
            guild_id=interaction.guild_id,
            channel_id=interaction.channel_id or 0,
            kind=order.kind.name,
            # Resolved with what the model reads; what is stored and shown is what the user wrote.
            params=replace(resolved.params, image=None, prompt=order.params.prompt),
            expand=expand,
            expanded_prompt=order.expanded_prompt,
            image_asset=asset,
            parent_generation_id=order.parent_generation_id,
            upload_limit=interaction.filesize_limit,
            message_id=answer_id,
            interaction_token=interaction.token,
            format=order.format,
        )
