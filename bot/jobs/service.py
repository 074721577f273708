"""The actions of users: make a clip, make it again, cancel, delete."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from pathlib import Path
from typing import Final

import discord

from bot.context import Services
from bot.errors import UserError
from bot.jobs.admission import Admission
from bot.jobs.attachments import Picture, keep
from bot.jobs.delivery import BLOCKED, UNDELIVERED
from bot.jobs.fit_upload import CannotPack, send_fitted
from bot.jobs.parameters import Order, random_seed
from bot.jobs.runner import Follower
from bot.messages.answers import DiscordRefusedError, DiscordUnavailableError
from bot.messages.cards import CardFile
from bot.messages.job_message import CardMessage
from bot.messages.removal import remove_message
from bot.messages.responses import replace_thinking
from bot.messages.text import quote
from bot.messages.throttle import Pauses
from bot.settings import Settings
from bot.store import (
    GenerationRecord,
    IllegalTransitionError,
    JobRecord,
    JobState,
    NewAsset,
    NewJob,
    StoreError,
)
from bot.store.clip_files import remove_picture, remove_stored_clip
from bot.store.paths import OutsideError, resolve
from engine.serving import ClipParams, ResolvedSettings

logger = logging.getLogger(__name__)

_REMOVED: Final = "This clip was deleted, so it cannot be rolled again."
_SEND_S: Final = 120.0
_RETRY_UNDELIVERED_S: Final = 600.0
_RETRY_UNDELIVERED_LONGEST_S: Final = 6 * 3600.0


class Studio:
    """The bot's work, between Discord's surface and the store, the engine and the expander.

    Interactions have been acknowledged before they come here.
    """

    def __init__(self, client: discord.Client, settings: Settings, services: Services) -> None:
        self._client = client
        self._settings = settings
        self._services = services
        self.admission = Admission(client, settings, services)
        self._followers: dict[str, Follower] = {}
        self._left: list[Follower] = []
        # Counting a user's jobs and adding one must not overlap with another command's, nor keeping
        # a picture with taking it away.
        self._admission = asyncio.Lock()

    @property
    def busy(self) -> bool:
        """True if a job is under way."""
        return bool(self._followers)

    async def make(
        self, order: Order, interaction: discord.Interaction, answer_id: int | None
    ) -> JobRecord:
        """Store a job for the order, show its card as the interaction's answer, start it.

        Who asked has passed `admission.check`; how much is under way is looked at once more.

        Args:
            order: what is wanted.
            interaction: acknowledged already.
            answer_id: the message that acknowledges it, where Discord told.

        Raises:
            UserError, RequestError: the order cannot be carried out; nothing was stored.
        """
        seed = random_seed() if order.seed is None else order.seed
        resolved = await asyncio.to_thread(
            self._services.engine.resolve,
            ClipParams(
                model=order.model,
                prompt=order.expanded_prompt or order.prompt,
                negative_prompt=order.negative_prompt,
                image=None if order.picture is None else order.picture.source,
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
        job = await self._admit(order, resolved, interaction, answer_id)
        await self._start(job)
        return job

    async def reroll(
        self, generation_id: str, interaction: discord.Interaction, answer_id: int | None
    ) -> JobRecord:
        """Make the clip again with another seed. Raises as `make` does, and for removed clips."""
        await self.admission.check(interaction)
        generation, job = await self._clip(generation_id)
        if generation.removed:
            raise UserError(_REMOVED)
        picture = None
        if job.image_asset is not None:
            try:
                path = resolve(self._settings.data_dir, job.image_asset.path)
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
                format=job.format,
            ),
            interaction,
            answer_id,
        )

    async def cancel(self, job_id: str, interaction: discord.Interaction) -> None:
        """End a job that waits or runs. Raises UserError: not theirs, or over already."""
        job = await self._services.store.get_job(job_id)
        if job is None:
            raise UserError("This job is not known any more.")
        if not _may_remove(job, interaction):
            raise UserError("Only who asked for the clip, or a moderator, can cancel it.")
        follower = self._followers.get(job_id)
        if follower is None or not await follower.cancel():
            if (await self._services.store.get_job(job_id) or job).state is JobState.CANCELLED:
                return  # clicked twice, or somebody else was faster
            raise UserError("This job is over already.")

    async def cancel_own(self, user_id: int, job_id: str | None = None) -> list[JobRecord]:
        """End one of the user's jobs that wait or run, or all of them; those that it ended."""
        own = [
            follower
            for follower in list(self._followers.values())
            if follower.job.user_id == user_id and job_id in (None, follower.job.id)
        ]
        ended = await asyncio.gather(*(follower.cancel() for follower in own))
        return [follower.job for follower, done in zip(own, ended, strict=True) if done]

    async def delete(self, generation_id: str, interaction: discord.Interaction) -> None:
        """Remove a clip's message, then its files; both or neither.

        Raises UserError: not theirs, unknown, or Discord does not let the message go.
        """
        generation, job = await self._clip(generation_id)
        if not _may_remove(job, interaction):
            raise UserError("Only who asked for the clip, or a moderator, can delete it.")
        message = interaction.message
        await remove_message(
            self._client,
            [interaction.delete_original_response, *([] if message is None else [message.delete])],
            self._services.pace.pauses(patient=False),
        )
        await self._forget(job, generation)

    async def fetch(self, generation_id: str, interaction: discord.Interaction) -> None:
        """Send users a clip of theirs as the answer; one that had not reached them counts then.

        Raises UserError: not theirs, it is gone, or it cannot be sent there.
        """
        generation, job = await self._clip(generation_id)
        if generation.deleted_at is not None:
            raise UserError("This clip is not known any more.")
        if interaction.user.id != job.user_id:
            raise UserError("Only who asked for the clip can have it sent.")
        try:
            clip = resolve(self._settings.data_dir, generation.path)
        except OutsideError as error:
            logger.error("clip of job %s: %s", job.id, error)
            raise UserError("The clip's file is no longer on this machine.") from error
        if not await asyncio.to_thread(clip.is_file):
            raise UserError("The clip's file is no longer on this machine.")

        async def send(upload: Path) -> None:
            file = CardFile(f"floor33-{job.id[:12]}{upload.suffix}", upload)
            await replace_thinking(
                interaction,
                lambda: {"content": quote(job.prompt, 300), "attachments": [file.open()]},
                self._services.pace.pauses(patient=False),
                timeout_s=_SEND_S,
            )

        try:
            await send_fitted(clip, job.format, interaction.filesize_limit, send)
        except CannotPack as error:
            raise UserError(f"The clip cannot be uploaded here: {error}") from error
        except DiscordRefusedError as error:
            raise UserError(f"Discord does not take the clip here: {error}") from error
        except DiscordUnavailableError as error:
            logger.warning("a clip was not sent: %s", error)
            raise UserError("Discord did not take the clip. Try again in a minute.") from error
        if job.state is JobState.RENDERED and job.id not in self._followers:
            await self._move(job.id, JobState.DELIVERED)

    async def message_gone(self, message_id: int) -> None:
        """Have a message that was deleted in Discord stay away.

        Its job is cancelled, or its delivery ended; its clip counts as deleted. Nothing is shown.
        """
        job = await self._services.write(lambda store: store.job_by_message(message_id))
        if job is None:
            return
        follower = self._followers.get(job.id)
        if follower is not None and await follower.withdraw():
            await self._services.write(lambda store: store.remove_words(job.id))
            return
        generation = await self._services.write(lambda store: store.generation_by_job(job.id))
        if generation is None:
            if follower is not None:  # its clip was there, and was not recorded yet
                await self._move(job.id, JobState.CANCELLED, "cancelled")
            await self._services.write(lambda store: store.remove_words(job.id))
        elif not generation.removed:
            await self._forget(job, generation)

    async def resume(self) -> int:
        """Find the jobs that the last run left unfinished, for `take_up`; how many.

        Before the first command: a job that is stored later is not of the last run.
        """
        await self._services.write(lambda store: store.requeue_running())
        jobs = await self._services.write(lambda store: store.unfinished_jobs())
        # What ran when the last run ended has waited already.
        self._left = [
            self._follower(job, resumed=True)
            for job in sorted(jobs, key=_waited)
            if job.reason != BLOCKED
        ]
        return len(self._left)

    async def take_up(self) -> None:
        """Carry on with the jobs that `resume` found, in their order."""
        left, self._left = self._left, []
        for follower in left:
            self._services.background.submit(follower.run)
            if not follower.needs_words and follower.job.state is not JobState.RENDERED:
                # The others wait for more than the engine: nobody's place depends on them.
                await follower.handed_over.wait()
        self._services.background.submit(self._retry_undelivered)

    async def _retry_undelivered(self) -> None:
        """Now and then try clips that nobody could be shown: a channel may open again."""
        pauses = Pauses(_RETRY_UNDELIVERED_S, _RETRY_UNDELIVERED_LONGEST_S)
        while True:
            await asyncio.sleep(_RETRY_UNDELIVERED_S)
            try:
                jobs = await self._services.store.unfinished_jobs()
            except StoreError as error:
                logger.warning("undelivered clips were not looked for: %s", error)
                continue
            for job in jobs:
                if (
                    job.reason == UNDELIVERED
                    and job.id not in self._followers
                    and pauses.due(job.id)
                ):
                    self._services.background.submit(self._follower(job, resumed=True).run)

    async def _clip(self, generation_id: str) -> tuple[GenerationRecord, JobRecord]:
        """Return a clip and its job. Raises UserError if there is no such clip."""
        store = self._services.store
        generation = await store.get_generation(generation_id)
        job = None if generation is None else await store.get_job(generation.job_id)
        if generation is None or job is None:
            raise UserError("This clip is not known any more.")
        return generation, job

    async def _admit(
        self,
        order: Order,
        resolved: ResolvedSettings,
        interaction: discord.Interaction,
        answer_id: int | None,
    ) -> JobRecord:
        async with self._admission:
            await self.admission.check_room(interaction.user.id, interaction.guild_id)
            await self._check_parent(order.parent_generation_id)
            asset = order.asset
            if asset is None and order.picture is not None:
                asset = await keep(order.picture, self._settings.data_dir)
            new = self._new_job(order, resolved, asset, interaction, answer_id)
            job = await self._services.store.create_job(new)
        self._services.metrics.job_accepted(job.kind, job.model)
        return job

    def _new_job(
        self,
        order: Order,
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
            kind=order.kind,
            prompt=order.prompt,
            negative_prompt=resolved.params.negative_prompt,
            model=order.model,
            seed=resolved.params.seed,
            fps=resolved.params.fps,
            steps=resolved.params.steps,
            guidance=resolved.params.guidance,
            width=resolved.params.width,
            height=resolved.params.height,
            expand=expand,
            expanded_prompt=order.expanded_prompt,
            image_asset=asset,
            parent_generation_id=order.parent_generation_id,
            upload_limit=interaction.filesize_limit,
            message_id=answer_id,
            interaction_token=interaction.token,
            format=order.format,
        )

    async def _start(self, job: JobRecord) -> None:
        # The job is stored: from here on it is carried out, whatever becomes of its message.
        self._services.shutdown.note_kept()
        follower = self._follower(job, resumed=False)
        self._services.background.submit(follower.run)
        await follower.show()

    def _follower(self, job: JobRecord, *, resumed: bool) -> Follower:
        message = CardMessage(
            self._client,
            user_id=job.user_id,
            channel_id=job.channel_id,
            message_id=job.message_id,
            token=job.interaction_token,
            nonce=job.id[:25],
            clock_skew=self._services.clock_skew(),
        )
        follower = Follower(self._services, job, message, resumed=resumed, on_end=self._unfollow)
        self._followers[job.id] = follower
        return follower

    def _unfollow(self, job_id: str) -> None:
        follower = self._followers.pop(job_id, None)
        if follower is not None and follower.job.image_asset is not None:
            self._services.background.submit(lambda: self._drop_picture(job_id))

    async def _check_parent(self, generation_id: str | None) -> None:
        """Refuse a re-roll of a clip that was deleted since its words were read."""
        if generation_id is not None:
            parent = await self._services.store.get_generation(generation_id)
            if parent is None or parent.removed:
                raise UserError(_REMOVED)

    async def _drop_picture(self, job_id: str) -> None:
        """Delete the picture of a job that is over, unless a clip or another job needs it."""
        async with self._admission:
            picture = await self._services.store.unneeded_picture(job_id)
            if picture is not None:
                await asyncio.to_thread(remove_picture, self._settings.data_dir, picture)

    async def _forget(self, job: JobRecord, generation: GenerationRecord) -> None:
        """Remove a clip whose message is gone, with the words and the picture it was made of.

        The files first, which makes room for the row.
        """
        await asyncio.to_thread(remove_stored_clip, self._settings.data_dir, generation.path)
        await self._services.write(lambda store: store.remove_clip(generation.id))
        if job.state is JobState.RENDERED:
            await self._move(job.id, JobState.CANCELLED, "deleted", "deleted")
        await self._drop_picture(job.id)

    async def _move(self, job_id: str, state: JobState, *why: str) -> None:
        """Move a rendered job on, unless its delivery or another click was faster."""
        try:
            await self._services.write(lambda store: store.set_job_state(job_id, state, *why))
        except IllegalTransitionError as error:
            logger.info("%s", error)


def _may_remove(job: JobRecord, interaction: discord.Interaction) -> bool:
    return interaction.user.id == job.user_id or interaction.permissions.manage_messages


def _waited(job: JobRecord) -> tuple[bool, datetime]:
    return job.attempts == 0, job.created_at
