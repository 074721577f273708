"""What users can have done: make a clip, make it again, cancel, delete."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import discord

from bot.cards import Snapshot, progress_card
from bot.delivery import CardMessage
from bot.dispatch import Follower
from bot.errors import UserError
from bot.orders import Order, random_seed
from bot.paths import resolve
from bot.services import Services
from bot.settings import Settings
from bot.store import JobRecord, NewAsset, NewJob
from bot.uploads import Picture, keep
from bot.views import cancel_view
from engine.serving import GenerationRequest, ResolvedSettings

logger = logging.getLogger(__name__)


class Studio:
    """The bot's work, between Discord's surface and the store, the engine and the expander.

    Interactions have been acknowledged before they come here.
    """

    def __init__(self, client: discord.Client, settings: Settings, services: Services) -> None:
        self._client = client
        self._settings = settings
        self._services = services
        self._followers: dict[str, Follower] = {}
        # Counting a user's jobs and adding one must not overlap with another command's.
        self._admission = asyncio.Lock()

    @property
    def busy(self) -> bool:
        """Whether a job is under way."""
        return bool(self._followers)

    async def make(self, order: Order, interaction: discord.Interaction) -> JobRecord:
        """Store a job for the order, show its card as the interaction's answer, start it.

        Raises:
            UserError, RequestError: the order cannot be carried out; nothing was stored.
        """
        seed = random_seed() if order.seed is None else order.seed
        resolved = await asyncio.to_thread(
            self._services.engine.validate,
            GenerationRequest(
                job_id=f"check-{interaction.id}",
                model=order.model,
                prompt=order.expanded_prompt or order.prompt,
                negative_prompt=order.negative_prompt,
                image=None if order.picture is None else order.picture.content,
                seed=seed,
                fps=order.fps,
                steps=order.steps,
                guidance=order.guidance,
                width=order.width,
                height=order.height,
            ),
        )
        if not resolved.model.ready:
            logger.error("model %s is not ready: %s", order.model, resolved.model.problem)
            raise UserError(
                f"The model {order.model} is not ready on this machine. Its operator can see why "
                "with `python -m bot doctor`."
            )
        job = await self._admit(order, resolved, interaction)
        await self._start(job, interaction)
        return job

    async def reroll(self, generation_id: str, interaction: discord.Interaction) -> JobRecord:
        """Make the clip again with another seed. Raises as `make` does."""
        generation = await self._services.store.get_generation(generation_id)
        job = None
        if generation is not None:
            job = await self._services.store.get_job(generation.job_id)
        if generation is None or job is None:
            raise UserError("This clip is not known any more.")
        picture = None
        if job.image_asset is not None:
            path = resolve(self._settings.data_dir, job.image_asset.path)
            try:
                content = await asyncio.to_thread(path.read_bytes)
            except OSError as error:
                raise UserError("The clip's picture is no longer on this machine.") from error
            picture = Picture(content, job.image_asset.width, job.image_asset.height)
        return await self.make(
            Order(
                kind=job.kind,
                prompt=generation.prompt,
                model=generation.model,
                negative_prompt=generation.negative_prompt,
                fps=generation.fps,
                steps=generation.steps,
                guidance=generation.guidance,
                width=generation.width,
                height=generation.height,
                expand=job.expand,
                picture=picture,
                asset=None if job.image_asset is None else job.image_asset.as_new(),
                parent_generation_id=generation.id,
                expanded_prompt=generation.expanded_prompt,
            ),
            interaction,
        )

    async def cancel(self, job_id: str, interaction: discord.Interaction) -> None:
        """End a job that waits or runs. Raises UserError: not theirs, or over already."""
        job = await self._services.store.get_job(job_id)
        if job is None:
            raise UserError("This job is not known any more.")
        if not _may_remove(job, interaction):
            raise UserError("Only who asked for the clip, or a moderator, can cancel it.")
        follower = self._followers.get(job_id)
        if follower is None or not follower.cancel():
            raise UserError("This job is over already.")

    async def delete(self, generation_id: str, interaction: discord.Interaction) -> None:
        """Remove a clip's message and its files. Raises UserError: not theirs, or unknown."""
        store = self._services.store
        generation = await store.get_generation(generation_id)
        job = None if generation is None else await store.get_job(generation.job_id)
        if generation is None or job is None:
            raise UserError("This clip is not known any more.")
        if not _may_remove(job, interaction):
            raise UserError("Only who asked for the clip, or a moderator, can delete it.")
        await self._forget(generation.id, generation.path)
        await interaction.delete_original_response()

    async def message_gone(self, message_id: int) -> None:
        """A message was deleted in Discord: its clip counts as deleted, its job is cancelled."""
        store = self._services.store
        job = await store.job_by_message(message_id)
        if job is None:
            return
        follower = self._followers.get(job.id)
        if follower is not None and follower.cancel():
            return
        generation = await store.generation_by_job(job.id)
        if generation is not None and generation.deleted_at is None:
            await self._forget(generation.id, generation.path)

    async def resume(self) -> int:
        """Take up the jobs that the last run left unfinished, oldest first; how many."""
        await self._services.store.requeue_running()
        jobs = await self._services.store.unfinished_jobs()
        for job in jobs:
            message = CardMessage(
                self._client,
                user_id=job.user_id,
                channel_id=job.channel_id,
                message_id=job.message_id,
            )
            self._follow(job, message, resumed=True)
        return len(jobs)

    async def _admit(
        self, order: Order, resolved: ResolvedSettings, interaction: discord.Interaction
    ) -> JobRecord:
        limit = self._settings.limits.max_active_jobs_per_user
        store = self._services.store
        async with self._admission:
            active = await store.unfinished_jobs(interaction.user.id)
            if len(active) >= limit:
                raise UserError(
                    f"You have {len(active)} clips under way; at most {limit} are allowed at a "
                    "time. Wait for one, or cancel one."
                )
            asset = order.asset
            if asset is None and order.picture is not None:
                asset = await keep(order.picture, self._settings.data_dir)
            job = await store.create_job(self._new_job(order, resolved, asset, interaction))
        if order.expanded_prompt is not None:
            # A re-roll keeps the words the model was given: only the seed changes.
            await store.add_expansion(
                job.id, order.prompt, order.expanded_prompt, "inherited", "inherited"
            )
            job = await store.get_job(job.id) or job
        return job

    def _new_job(
        self,
        order: Order,
        resolved: ResolvedSettings,
        asset: NewAsset | None,
        interaction: discord.Interaction,
    ) -> NewJob:
        expand = self._settings.expansion.enabled if order.expand is None else order.expand
        return NewJob(
            user_id=interaction.user.id,
            user_name=interaction.user.name,
            guild_id=interaction.guild_id,
            channel_id=interaction.channel_id or 0,
            kind=order.kind,
            prompt=order.prompt,
            negative_prompt=resolved.negative_prompt,
            model=order.model,
            seed=resolved.seed,
            fps=resolved.fps,
            steps=resolved.steps,
            guidance=resolved.guidance,
            width=resolved.width,
            height=resolved.height,
            expand=expand,
            image_asset=asset,
            parent_generation_id=order.parent_generation_id,
            upload_limit=interaction.filesize_limit,
        )

    async def _start(self, job: JobRecord, interaction: discord.Interaction) -> None:
        message = CardMessage(
            self._client,
            user_id=job.user_id,
            channel_id=job.channel_id,
            interaction=interaction,
        )
        # The job is stored: from here on it is carried out, whatever becomes of this message.
        try:
            place = await message.show(progress_card(job, Snapshot(), cancel_view(job.id)))
            if place is not None:
                job = await self._services.store.set_message(
                    job.id, place.channel_id, place.message_id
                )
        except (discord.HTTPException, OSError) as error:
            logger.warning("the card of job %s was not shown: %s", job.id, error)
        self._follow(job, message, resumed=False)

    def _follow(self, job: JobRecord, message: CardMessage, *, resumed: bool) -> None:
        follower = Follower(
            self._services,
            job,
            message,
            resumed=resumed,
            on_end=self._unfollow,
        )
        self._followers[job.id] = follower
        self._services.background.submit(follower.run)

    def _unfollow(self, job_id: str) -> None:
        self._followers.pop(job_id, None)

    async def _forget(self, generation_id: str, stored_path: str) -> None:
        await self._services.store.set_generation_deleted(generation_id)
        clip = resolve(self._settings.data_dir, stored_path)
        await asyncio.to_thread(_remove, clip)


def _may_remove(job: JobRecord, interaction: discord.Interaction) -> bool:
    return interaction.user.id == job.user_id or interaction.permissions.manage_messages


def _remove(clip: Path) -> None:
    for path in (clip, clip.with_suffix(".json")):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s could not be removed: %s", path, error)
