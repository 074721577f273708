"""The parts that look after a running bot: its metrics, health, retention."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

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
from bot.operations.retention import Retention
from common.disk import free_bytes

if TYPE_CHECKING:
    from bot.app import Floor33Bot

logger = logging.getLogger(__name__)


class Operations:
    """Owned by the bot; from `start`, when the store and the engine are there, to `close`."""

    def __init__(self, bot: Floor33Bot, metrics: Metrics) -> None:
        self._bot = bot
        self._metrics = metrics
        self._rate_limits = RateLimitWatch(metrics)
        self._server: OperationsServer | None = None

    async def start(self) -> None:
        """Begin to measure, to serve (if the settings say so) and to sweep.

        Raises:
            OperationsServerError: the settings' address cannot be served.
        """
        bot, settings = self._bot, self._bot.settings
        lag, gateway = LoopLag(), Gateway(bot)
        self._rate_limits.install()
        self._metrics.registry.register(GpuMemory(bot.engine.devices))
        self._metrics.watch(
            waiting=lambda: len(bot.engine.queue().waiting),
            running=lambda: len(bot.engine.queue().running),
            free_bytes=lambda: free_bytes(settings.data_dir),
            gateway=lambda: gateway.connected,
            lag_s=lag.seconds,
        )
        bot.background.submit(lag.run)
        retention = Retention(
            bot.store,
            settings.data_dir,
            settings.output_dir,
            settings.retention,
            self._metrics,
            # Discord's clock: with this machine's far ahead every clip would be too old.
            clock=lambda: datetime.now(UTC) - bot.http_trace.clock_skew,
        )
        bot.background.submit(retention.run)
        if settings.operations.port == 0:
            return
        checks = {
            "database": store_check(bot.store),
            "gateway": gateway.check,
            "token": token_check(lambda: bot.token_watch.refused),
            "models": model_check(bot.engine),
            "disk": disk_check(settings.data_dir, settings.limits.min_free_mb),
            "work": in_charge_check(lambda: bot.shutdown.begun or bot.is_closed()),
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
