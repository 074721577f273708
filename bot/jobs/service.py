"""Submit and cancel jobs, and keep the runner of each."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import discord

from bot.context import Services
from bot.errors import UserError
from bot.jobs.admission import Admission
from bot.jobs.parameters import ClipOrder
from bot.jobs.runner import JobRunner
from bot.jobs.storage import JobStorage
from bot.messages.job_message import JobMessage
from bot.settings import Settings
from bot.store import JobRecord, JobState
from engine.serving import ResolvedSettings

logger = logging.getLogger(__name__)


class JobService:
    """Takes jobs, between Discord's surface and the store, the engine and the expander.

    Interactions have been acknowledged before they come here.

    Attributes:
        admission: decides who may have clips made.
        storage: the rows and files of jobs.
    """

    def __init__(self, client: discord.Client, settings: Settings, services: Services) -> None:
        self._client = client
        self._services = services
        self.admission = Admission(client, settings, services)
        self.storage = JobStorage(settings, services, self.admission.check_quota)
        self._runners: dict[str, JobRunner] = {}

    @property
    def busy(self) -> bool:
        """True if a job is under way."""
        return bool(self._runners)

    def is_active(self, job_id: str) -> bool:
        """Return whether this job is under way."""
        return job_id in self._runners

    async def submit(
        self, order: ClipOrder, interaction: discord.Interaction, answer_id: int | None
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
        params = order.params
        if order.expanded_prompt is not None:
            params = replace(params, prompt=order.expanded_prompt)
        resolved = await asyncio.to_thread(self._services.engine.resolve, params)
        if not resolved.model.ready:
            logger.error("model %s is not ready: %s", params.model, resolved.model.problem)
            raise UserError(
                f"The model {params.model} is not ready on this machine. Its operator can see why "
                "with `python -m bot doctor`."
            )
        job = await self.storage.add(order, resolved, interaction, answer_id)
        # The job is stored: from here on it is carried out, whatever becomes of its message.
        self._services.shutdown.note_kept()
        runner = self.runner(job, resolved)
        self._services.background.submit(runner.run)
        await runner.show()
        return job

    async def cancel(self, job_id: str, interaction: discord.Interaction) -> None:
        """End a job that waits or runs. Raises UserError: not theirs, or over already."""
        job = await self._services.store.get_job(job_id)
        if job is None:
            raise UserError("This job is not known any more.")
        if not may_remove(job, interaction):
            raise UserError("Only who asked for the clip, or a moderator, can cancel it.")
        runner = self._runners.get(job_id)
        if runner is None or not await runner.cancel():
            if (await self._services.store.get_job(job_id) or job).state is JobState.CANCELLED:
                return  # clicked twice, or somebody else was faster
            raise UserError("This job is over already.")

    async def cancel_own(self, user_id: int, job_id: str | None = None) -> list[JobRecord]:
        """End one of the user's jobs that wait or run, or all; return those that it ended."""
        own = [
            runner
            for runner in list(self._runners.values())
            if runner.job.user_id == user_id and job_id in (None, runner.job.id)
        ]
        ended = await asyncio.gather(*(runner.cancel() for runner in own))
        return [runner.job for runner, done in zip(own, ended, strict=True) if done]

    async def on_message_deleted(self, message_id: int) -> None:
        """Have a message that was deleted in Discord stay away.

        Its job is cancelled, or its delivery ended; its clip counts as deleted. Nothing is shown.
        """
        write = self._services.write
        job = await write(lambda store: store.job_by_message(message_id))
        if job is None:
            return
        runner = self._runners.get(job.id)
        if runner is not None and await runner.withdraw():
            await write(lambda store: store.remove_words(job.id))
            return
        generation = await write(lambda store: store.generation_by_job(job.id))
        if generation is None:
            if runner is not None:  # its clip was there, and was not recorded yet
                await self.storage.move(job.id, JobState.CANCELLED, "cancelled")
            await write(lambda store: store.remove_words(job.id))
        elif not generation.removed:
            await self.storage.remove_clip(job, generation)

    message_gone = on_message_deleted
    """The earlier name."""

    def runner(self, job: JobRecord, resolved: ResolvedSettings | None) -> JobRunner:
        """Return a new runner of a stored job; without settings it is one of the last run's."""
        message = JobMessage(
            self._client,
            user_id=job.user_id,
            channel_id=job.channel_id,
            message_id=job.message_id,
            token=job.interaction_token,
            nonce=job.id[:25],
            clock_skew=self._services.clock_skew(),
        )
        runner = JobRunner(self._services, job, message, resolved=resolved, on_end=self._forget)
        self._runners[job.id] = runner
        return runner

    def _forget(self, job_id: str) -> None:
        runner = self._runners.pop(job_id, None)
        if runner is not None and runner.job.image_asset is not None:
            self._services.background.submit(lambda: self.storage.drop_picture(job_id))


def may_remove(job: JobRecord, interaction: discord.Interaction) -> bool:
    """Return whether the interaction's user may end the job or delete its clip."""
    return interaction.user.id == job.user_id or interaction.permissions.manage_messages
