"""Hold the shared dependencies of a job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from bot.lease import DataFolderLease
from bot.messages.throttle import EditThrottle
from bot.operations.metrics import Metrics
from bot.operations.shutdown import Shutdown
from bot.store import Store
from bot.store.retry import Result, database_pauses, retry_write
from bot.tasks import TaskSupervisor
from engine.serving import Engine
from prompt_expansion import PromptExpander


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Shared dependencies of a job.

    `throttle` tells how often cards may be edited, `weight_of` a server's (None: direct messages)
    weight in the queue; `shutdown` whether the bot is about to end; `clock_skew` this machine's
    time less Discord's.
    """

    store: Store
    engine: Engine
    expander: PromptExpander
    background: TaskSupervisor
    lease: DataFolderLease
    data_dir: Path
    metrics: Metrics
    shutdown: Shutdown
    throttle: EditThrottle
    weight_of: Callable[[int | None], float]
    clock_skew: Callable[[], timedelta]

    async def write(self, write: Callable[[Store], Awaitable[Result]]) -> Result:
        """Write what a job depends on, as soon as the database allows it; see `written`."""
        return await retry_write(lambda: write(self.store), database_pauses())
