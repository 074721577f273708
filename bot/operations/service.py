"""The parts that look after a running bot: its metrics, health, retention."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from discord.ext import commands

from bot.operations.gpus import GpuMemory
from bot.operations.health import (
    Gateway,
    LoopLag,
    RateLimitWatch,
    disk_check,
    in_charge_check,
    model_check,
    store_check,
    token_check,
)
from bot.operations.http import OperationsServer
from bot.operations.metrics import Metrics
from bot.operations.retention import RetentionSweeper
from bot.settings import Settings
from bot.store import Store
from bot.tasks import TaskSupervisor
from common.disk import free_bytes
from engine.serving import Engine

logger = logging.getLogger(__name__)


class Operations:
    """Owned by the bot; from `start`, when the store and the engine are there, to `close`."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._rate_limits = RateLimitWatch(metrics)
        self._server: OperationsServer | None = None

    async def start(
        self,
        bot: commands.Bot,
        store: Store,
        engine: Engine,
        background: TaskSupervisor,
        *,
        clock_skew: Callable[[], timedelta],
        token_refused: Callable[[], bool],
        ending: Callable[[], bool],
    ) -> None:
        """Start to measure, to serve (if the settings say so) and to sweep.

        Args:
            bot: its connection is watched.
            store: is checked and swept.
            engine: is measured and checked.
            background: runs what goes on until the end.
            clock_skew: returns this machine's time less Discord's.
            token_refused: returns True if Discord refuses the bot's token.
            ending: returns True if the bot takes no new work.

        Raises:
            OperationsServerError: the settings' address cannot be served.
        """
        settings = self._settings
        lag, gateway = LoopLag(), Gateway(bot)
        self._rate_limits.install()
        self._metrics.registry.register(GpuMemory(engine.devices))
        self._metrics.watch(
            waiting=lambda: len(engine.queue().waiting),
            running=lambda: len(engine.queue().running),
            free_bytes=lambda: free_bytes(settings.data_dir),
            gateway=lambda: gateway.connected,
            lag_s=lag.seconds,
        )
        background.submit(lag.run)
        retention = RetentionSweeper(
            store,
            settings.data_dir,
            settings.output_dir,
            settings.retention,
            self._metrics,
            # Discord's clock: with this machine's far ahead every clip would be too old.
            clock=lambda: datetime.now(UTC) - clock_skew(),
        )
        background.submit(retention.run)
        if settings.operations.port == 0:
            return
        checks = {
            "database": store_check(store),
            "gateway": gateway.check,
            "token": token_check(token_refused),
            "models": model_check(engine),
            "disk": disk_check(settings.data_dir, settings.limits.min_free_mb),
            "work": in_charge_check(ending),
        }
        self._server = OperationsServer(
            self._metrics,
            checks,
            lag.seconds,
            allowed_hosts=settings.operations.allowed_hosts or (),
        )
        address = await self._server.start(settings.operations.host, settings.operations.port)
        logger.info("metrics and health: %s/metrics, /healthz, /readyz", address)

    async def close(self) -> None:
        """End what `start` began; tasks of the background end with that. May be called again."""
        self._rate_limits.remove()
        if self._server is not None:
            await self._server.close()
