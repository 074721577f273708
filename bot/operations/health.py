"""The bot's readiness at this moment, and the reasons where it cannot work."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from discord.ext import commands

from bot.operations.metrics import Metrics
from bot.store import Store, StoreError
from common.disk import free_bytes

if TYPE_CHECKING:
    from engine.serving import Engine

logger = logging.getLogger(__name__)

PATIENCE_S: Final = 5.0
MIB: Final = 2**20
# Loggers of discord.py that tell of answers with status 429, and how those lines begin.
_LIMITS: Final = {
    "discord.http": "We are being rate limited",
    "discord.webhook.async_": "Webhook ID %s is rate limited",
}


@dataclass(frozen=True, slots=True)
class HealthStatus:
    """The outcome of one check; `detail` is a short phrase for operators, without secrets."""

    ok: bool
    detail: str


ReadyCheck = Callable[[], Awaitable[HealthStatus]]


async def examine(checks: Mapping[str, ReadyCheck]) -> dict[str, HealthStatus]:
    """Every check's finding; all at once, none waited for longer than `PATIENCE_S`."""
    findings = await asyncio.gather(*(_patiently(name, check) for name, check in checks.items()))
    return dict(zip(checks, findings, strict=True))


async def _patiently(name: str, check: ReadyCheck) -> HealthStatus:
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await check()
    except TimeoutError:
        return HealthStatus(False, f"no answer within {PATIENCE_S:g} s")
    except Exception:  # the boundary of a probe
        logger.exception("the check %r failed", name)
        return HealthStatus(False, "the check failed; see the log")


def store_check(store: Store) -> ReadyCheck:
    """Return a check that the database can be written to, and is this bot's."""

    async def check() -> HealthStatus:
        if store.lease.is_lost():
            return HealthStatus(False, "another bot has taken over")
        try:
            await store.check_writable()
        except StoreError as error:
            return HealthStatus(False, str(error))
        return HealthStatus(True, "writable")

    return check


def model_check(engine: Engine) -> ReadyCheck:
    """Return a check that there is a model to make clips with."""

    async def check() -> HealthStatus:
        cards = await asyncio.to_thread(engine.models)
        ready = [card.name for card in cards if card.installed and card.ready]
        if not ready:
            return HealthStatus(False, "no model is ready")
        warming = any(worker.state in ("starting", "warming") for worker in engine.status())
        return HealthStatus(True, f"{', '.join(ready)}{'; warming up' if warming else ''}")

    return check


def disk_check(folder: Path, min_free_mb: int) -> ReadyCheck:
    """Return a check that clips still fit on the disk."""

    async def check() -> HealthStatus:
        free = await asyncio.to_thread(free_bytes, folder)
        return HealthStatus(free >= min_free_mb * MIB, f"{free // MIB} MiB free")

    return check


class Gateway:
    """The state of Discord's gateway, connected or not; discord.py itself does not tell."""

    def __init__(self, bot: commands.Bot) -> None:
        self.connected = bot.is_ready()
        for event in ("connect", "ready", "resumed"):
            bot.add_listener(self._up, f"on_{event}")
        bot.add_listener(self._down, "on_disconnect")

    async def check(self) -> HealthStatus:
        """See `ReadyCheck`."""
        return HealthStatus(self.connected, "connected" if self.connected else "not connected")

    async def _up(self) -> None:
        self.connected = True

    async def _down(self) -> None:
        self.connected = False


class LoopLag:
    """The lag of the event loop: a blocked one answers nobody, Discord's heartbeat included."""

    def __init__(self, *, tick_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._tick_s = tick_s
        self._clock = clock
        self._late_s = 0.0
        self._ticked_at = clock()

    def seconds(self) -> float:
        """Return the delay of the last tick, or of the next one where that is longer already."""
        return max(self._late_s, self._clock() - self._ticked_at - self._tick_s, 0.0)

    async def run(self) -> None:
        """Measure until cancelled."""
        self._ticked_at = self._clock()
        while True:
            await asyncio.sleep(self._tick_s)
            now = self._clock()
            self._late_s = max(0.0, now - self._ticked_at - self._tick_s)
            self._ticked_at = now


class RateLimitWatch(logging.Filter):
    """Counts the answers with status 429, which discord.py deals with itself and only logs."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__()
        self._metrics = metrics

    def install(self) -> None:
        """Begin to listen."""
        for name in _LIMITS:
            logging.getLogger(name).addFilter(self)

    def remove(self) -> None:
        """Listen no more."""
        for name in _LIMITS:
            logging.getLogger(name).removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Always True."""
        if record.levelno == logging.WARNING and str(record.msg).startswith(_LIMITS[record.name]):
            waits = record.args[-1] if isinstance(record.args, tuple) and record.args else 0.0
            self._metrics.rate_limited(waits if isinstance(waits, float | int) else 0.0)
        return True


def token_check(refused: Callable[[], bool]) -> ReadyCheck:
    """Return a check that Discord accepts the bot's token, as far as is known."""

    async def check() -> HealthStatus:
        return HealthStatus(not refused(), "refused" if refused() else "accepted")

    return check


def in_charge_check(closed: Callable[[], bool]) -> ReadyCheck:
    """Return a check that the bot takes new work, and is not about to end."""

    async def check() -> HealthStatus:
        ending = closed()
        return HealthStatus(not ending, "ending" if ending else "taking work")

    return check
