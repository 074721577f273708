"""The bot as a process of its own, to be killed."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.loopback_discord.server import LoopbackDiscord

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
_ZYGOTE = "tests.loopback_discord.zygote"


class BotProcesses:
    """Bots one after the other on the same settings; a context manager that leaves none alive.

    Args:
        discord: what they log in to.
        config: their bot.toml.
        log: where their standard error goes.
        pace: `edit_interval_s` and `retry_s` of `create_bot`; None means its defaults.
    """

    def __init__(
        self,
        discord: LoopbackDiscord,
        config: Path,
        log: Path,
        pace: tuple[float, float] | None = None,
    ) -> None:
        self._discord, self._config, self._log, self._pace = discord, config, log, pace
        self.pid: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start a bot, without waiting until it listens."""
        assert self.pid is None
        discord = self._discord
        self.pid = _zygote().start(
            {
                "config": str(self._config),
                "log": str(self._log),
                "url": discord.url,
                "gateway_url": discord.gateway_url,
                "pace": self._pace,
            }
        )

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End the bot, and wait until it has ended. Nothing happens if there is none."""
        pid, self.pid = self.pid, None
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            deadline = time.monotonic() + PATIENCE_S
            while time.monotonic() < deadline:
                os.kill(pid, 0)
                time.sleep(0.005)
            raise AssertionError(f"process {pid} does not end")

    def strike(self) -> None:
        """Kill the bot now, without waiting; callable from the server's thread."""
        if (pid := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @property
    def alive(self) -> bool:
        if self.pid is None:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True


class _Zygote:
    """The process that has imported everything once and forks a bot for each order."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", _ZYGOTE],
            cwd=ROOT,
            env={**os.environ, "DISCORD_TOKEN": "loopback.token.of-no-use", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ordering = threading.Lock()
        assert self._answer() == "ready"

    def start(self, order: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        with self._ordering:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return int(self._answer())

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the process that starts bots has ended"
        return line


@functools.cache
def _zygote() -> _Zygote:
    """Return the one of this test run: its imports take seconds, and each test needs a bot."""
    zygote = _Zygote()
    atexit.register(zygote.end)
    return zygote
