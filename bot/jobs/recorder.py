"""Record in the store what becomes of one job, in order and as soon as the database allows it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, TypeVar

from bot.context import Services
from bot.store import (
    IllegalTransitionError,
    JobRecord,
    JobState,
    NewGeneration,
    Store,
    StoreError,
    TakenOverError,
    UnknownJobError,
)
from bot.store.paths import inside
from engine.serving import GenerationResult
from prompt_expansion import Expansion

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

NOT_OURS: Final = (IllegalTransitionError, TakenOverError, UnknownJobError)
"""Another bot has taken over and was faster, or the job is gone with the person who asked."""
_END_WAIT_S: Final = 2.0
"""Seconds that an end without a clip waits to be recorded before it is shown."""


class JobRecorder:
    """Writes what happens to a job.

    Attributes:
        job: as it was stored last.
    """

    def __init__(self, services: Services, job: JobRecord) -> None:
        self.job = job
        self._services = services
        self._writes: list[asyncio.Task[Any]] = []
        self._ending: asyncio.Task[None] | None = None

    def write(self, write: Callable[[Store], Awaitable[Result]]) -> asyncio.Task[Result]:
        """Start a write, which is made once the ones before are done and the database allows it."""
        before = self._writes[-1:]

        async def write_next() -> Result:
            if before:
                await asyncio.wait(before)
            return await self._services.write(write)

        task = asyncio.create_task(write_next())
        task.add_done_callback(_log_error)
        self._writes = [*before, task]
        return task

    def start(self) -> None:
        """Record that the job is being rendered."""
        job_id = self.job.id
        self.write(lambda store: store.set_job_state(job_id, JobState.RUNNING))

    def new_generation(self, result: GenerationResult, device: str | None) -> NewGeneration:
        """Return the job's clip as it is to be stored.

        Args:
            result: what the engine made.
            device: the kind of device that made it.
        """
        expansion = self.job.expansion
        return NewGeneration(
            job_id=self.job.id,
            params=replace(result.params, prompt=self.job.params.prompt),
            expanded_prompt=(
                None if expansion is None or expansion.fallback is not None else expansion.expanded
            ),
            unread=result.unread,
            unread_negative=result.unread_negative,
            model_revision=result.model_revision,
            path=inside(self._services.data_dir, result.path),
            elapsed_s=result.elapsed_s,
            device=device,
        )

    async def add_expansion(self, expansion: Expansion) -> None:
        """Keep what the prompt became. Raises StoreError."""
        job_id = self.job.id
        await self.write(
            lambda store: store.add_expansion(
                job_id,
                expansion.original,
                expansion.text,
                expansion.backend,
                expansion.language,
                expansion.fallback,
            )
        )
        stored = await self._services.write(lambda store: store.get_job(job_id))
        self.job = self.job if stored is None else stored

    async def start_end(self, state: JobState, words: str, reason: str | None) -> None:
        """Record the end; where the database does not allow it at once, `settle` waits for it.

        Raises one of `NOT_OURS`.
        """
        self._ending = asyncio.create_task(self.record_end(state, words, reason))
        self._ending.add_done_callback(_log_error)
        await asyncio.wait({self._ending}, timeout=_END_WAIT_S)
        if self._ending.done():
            self._ending.result()

    async def record_end(self, state: JobState, words: str, reason: str | None) -> None:
        """Record the end, however long the database takes. Raises one of `NOT_OURS`."""
        job_id = self.job.id
        try:
            self.job = await self.write(
                lambda store: store.set_job_state(job_id, state, words, reason)
            )
        except NOT_OURS:
            raise
        except StoreError:
            logger.exception("the end of job %s could not be recorded", job_id)
        self._services.metrics.job_ended(state.value, reason)

    async def settle(self) -> None:
        """Wait until the end is recorded, however long the database takes, unless the bot ends."""
        if self._ending is None or self._services.background.closed:
            return
        try:
            await self._ending
        except NOT_OURS as error:
            logger.warning("%s", error)

    def close(self) -> None:
        """Cancel the writes that are left; only a bot that is closing has any."""
        for write in self._writes:
            write.cancel()


def _log_error(write: asyncio.Task[Any]) -> None:
    """Retrieve the error of a write that nobody waits for any more."""
    if not write.cancelled() and (error := write.exception()) is not None:
        logger.info("a write failed: %s", error)
