"""Resume the jobs of the last run, and try again what could not be delivered."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import Final

from bot.context import Services
from bot.jobs.delivery import BLOCKED, UNDELIVERED
from bot.jobs.runner import JobRunner
from bot.jobs.service import JobService
from bot.messages.throttle import RetrySchedule
from bot.store import JobRecord, JobState, StoreError

logger = logging.getLogger(__name__)

_RETRY_UNDELIVERED_S: Final = 600.0
_RETRY_UNDELIVERED_LONGEST_S: Final = 6 * 3600.0


class PendingJobs:
    """The jobs that the last run of the bot left unfinished.

    Args:
        services: the parts that a job passes through.
        jobs: makes the runners.
    """

    def __init__(self, services: Services, jobs: JobService) -> None:
        self._services = services
        self._jobs = jobs
        self._left: list[JobRunner] = []

    async def load(self) -> int:
        """Find the jobs that the last run left unfinished, for `resume`; return their number.

        Before the first command: a job that is stored later is not of the last run.
        """
        await self._services.write(lambda store: store.requeue_running())
        jobs = await self._services.write(lambda store: store.unfinished_jobs())
        # What ran when the last run ended has waited already.
        self._left = [
            self._jobs.runner(job, None)
            for job in sorted(jobs, key=_waited)
            if job.reason != BLOCKED
        ]
        return len(self._left)

    async def resume(self) -> None:
        """Carry on with the jobs that `load` found, in their order."""
        left, self._left = self._left, []
        for runner in left:
            self._services.background.submit(runner.run)
            if not runner.needs_expansion and runner.job.state is not JobState.RENDERED:
                # The others wait for more than the engine: nobody's place depends on them.
                await runner.handed_over.wait()
        self._services.background.submit(self._retry_undelivered)

    async def _retry_undelivered(self) -> None:
        """Now and then try clips that nobody could be shown: a channel may open again."""
        schedule = RetrySchedule(_RETRY_UNDELIVERED_S, _RETRY_UNDELIVERED_LONGEST_S)
        while True:
            await asyncio.sleep(_RETRY_UNDELIVERED_S)
            try:
                jobs = await self._services.store.unfinished_jobs()
            except StoreError as error:
                logger.warning("undelivered clips were not looked for: %s", error)
                continue
            for job in jobs:
                waiting = job.reason == UNDELIVERED and not self._jobs.is_active(job.id)
                if waiting and schedule.due(job.id):
                    self._services.background.submit(self._jobs.runner(job, None).run)


def _waited(job: JobRecord) -> tuple[bool, datetime]:
    return job.attempts == 0, job.created_at
