"""Bring a stored job to the engine: its picture, its expanded prompt, its place in the queue."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from bot.context import Services
from bot.errors import PictureMissingError
from bot.jobs.recorder import JobRecorder
from bot.store import JobRecord
from bot.store.clip_files import remove_clip
from bot.store.paths import resolve
from engine.serving import Event, Finished, Job, QueueFullError, ResolvedSettings
from prompt_expansion import Expansion

logger = logging.getLogger(__name__)

_QUEUE_FULL_WAIT_S: Final = 3.0
_EXPANSION_FAILED: Final = "Prompt expansion failed; your own words are used."


class JobPreparation:
    """Makes a job of the engine's out of a stored one.

    Args:
        services: the engine and the expander.
        recorder: of the job.
        resolved: the settings that the job was accepted with; None: the last run accepted it.
    """

    def __init__(
        self, services: Services, recorder: JobRecorder, resolved: ResolvedSettings | None
    ) -> None:
        self._services = services
        self._recorder = recorder
        self._resolved = resolved

    @property
    def needs_expansion(self) -> bool:
        """True if the prompt will be expanded first, which may take a while."""
        return self._recorder.job.expand and self._recorder.job.expansion is None

    async def settings(self, on_expanding: Callable[[], None]) -> ResolvedSettings:
        """Return what the engine is to run.

        What was resolved when the job was accepted is not looked at again, but for the prompt
        where that is expanded now.

        Args:
            on_expanding: called when the expansion starts.

        Raises:
            RequestError: the engine refuses it.
            PictureMissingError: the picture is gone.
        """
        engine, resolved = self._services.engine, self._resolved
        if resolved is None:
            image = await self._image(self._recorder.job)
            prompt = await self._prompt(on_expanding)
            params = replace(self._recorder.job.params, prompt=prompt, image=image)
            return await asyncio.to_thread(engine.resolve, params)
        if not self.needs_expansion:
            return resolved
        prompt = await self._prompt(on_expanding)
        if prompt == resolved.params.prompt:
            return resolved
        return await asyncio.to_thread(engine.reword, resolved, prompt)

    async def enqueue(self, settings: ResolvedSettings, stopped: Callable[[], bool]) -> Job | None:
        """Queue the job with the engine, as soon as there is room; None if it is stopped first.

        Raises:
            RequestError: the engine refuses it.
            EngineClosed: the bot is closing.
        """
        job = self._recorder.job

        def enqueue() -> Job:
            return self._services.engine.enqueue(
                job.id,
                settings,
                owner=str(job.user_id),
                weight=self._services.weight_of(job.guild_id),
                begun=job.attempts > 0,
            )

        while not stopped():
            enqueuing = asyncio.ensure_future(asyncio.to_thread(enqueue))
            try:
                return await asyncio.shield(enqueuing)
            except asyncio.CancelledError:
                enqueuing.add_done_callback(_cancel_enqueued)
                raise
            except QueueFullError:
                # Accepted is accepted: the job waits here until the engine's queue has room.
                await asyncio.sleep(_QUEUE_FULL_WAIT_S)
        return None

    async def _image(self, job: JobRecord) -> bytes | None:
        if job.image_asset is None:
            return None
        try:
            path = resolve(self._services.data_dir, job.image_asset.path)
            return await asyncio.to_thread(path.read_bytes)
        except (OSError, ValueError) as error:
            logger.error("picture of job %s: %s", job.id, error)
            raise PictureMissingError("The picture is not on this machine any more.") from error

    async def _prompt(self, on_expanding: Callable[[], None]) -> str:
        """Return what the model is given: the expanded prompt, if one is wanted."""
        job = self._recorder.job
        if job.expansion is not None:
            return job.expansion.expanded
        if not job.expand:
            return job.params.prompt
        on_expanding()
        expansion = await self._expanded(job.params.prompt)
        if expansion.fallback is not None:
            logger.info("job %s keeps the user's words: %s", job.id, expansion.fallback)
        await self._recorder.add_expansion(expansion)
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


def discard_clip(handle: Job) -> None:
    """Remove the clip of a job that was cancelled, if it is finished all the same."""

    def remove(event: Event) -> None:
        if isinstance(event, Finished):
            remove_clip(event.result.path)

    handle.subscribe(remove)


def _cancel_enqueued(enqueuing: asyncio.Future[Job]) -> None:
    """Cancel what the engine took when nobody waited for it any more."""
    if not enqueuing.cancelled() and enqueuing.exception() is None:
        enqueuing.result().cancel()
