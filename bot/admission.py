"""Whether one more job is taken, and what is said when it is not."""

from __future__ import annotations

import asyncio
import logging

from bot.errors import UserError
from bot.operations.shutdown import RESTARTING
from bot.services import Services
from bot.settings import Settings
from bot.text import in_about
from engine.serving import QueueView

logger = logging.getLogger(__name__)


async def check_room(
    services: Services, settings: Settings, user_id: int, guild_id: int | None
) -> None:
    """Refuse a job for which there is no room now. Raises UserError, which says when."""
    if services.shutdown.begun:
        raise UserError(RESTARTING)
    if problem := await asyncio.to_thread(services.engine.free_space_problem):
        logger.error("a job was refused: %s", problem)
        raise UserError(problem)
    limits, store = settings.limits, services.store
    own = await store.active_jobs(user_id=user_id)
    if own >= limits.max_active_jobs_per_user:
        clips = "1 clip" if own == 1 else f"{own} clips"
        raise UserError(
            f"You have {clips} under way; at most {limits.max_active_jobs_per_user} are allowed at "
            f"a time. {_when(services.engine.queue(), str(user_id))} Or cancel one with /cancel."
        )
    if guild_id is None:
        return
    of_guild = await store.active_jobs(guild_id=guild_id)
    if of_guild >= limits.max_active_jobs_per_guild:
        raise UserError(
            f"{of_guild} clips of this server are under way; at most "
            f"{limits.max_active_jobs_per_guild} are allowed at a time. "
            f"{_when(services.engine.queue(), None)}"
        )


def _when(queue: QueueView, owner: str | None) -> str:
    """When the first of the owner's jobs (None: of all) is likely to be done."""
    ends = [job.remaining_s for job in queue.running if owner is None or job.owner == owner] + [
        job.wait_s + job.cost_s for job in queue.waiting if owner is None or job.owner == owner
    ]
    if not ends:
        return "Try again in a moment."
    return f"There is room again {in_about(min(ends))}."
