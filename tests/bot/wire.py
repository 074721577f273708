"""A real bot process on the loopback Discord, whose gateway can be made to misbehave."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Collection, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.bot.test_command_line import toml
from tests.loopback_discord import LoopbackDiscord
from tests.loopback_discord.gateway import Gateway, Refusal
from tests.loopback_discord.process import BotProcesses
from tests.loopback_discord.state import (
    APPLICATION_ID,
    CHANNEL_ID,
    EPHEMERAL,
    GUILD_ID,
    Interaction,
)

__all__ = [
    "ALICE",
    "APPLICATION_ID",
    "BOB",
    "CHANNEL_ID",
    "EPHEMERAL",
    "GUILD_ID",
    "PATIENCE_S",
    "BotProcesses",
    "Interaction",
    "LoopbackDiscord",
    "Path",
    "Wire",
    "contextlib",
    "pytest",
    "sqlite3",
    "time",
    "toml",
    "wire",
    "wired",
]

ALICE, BOB = 5_001, 5_002
PATIENCE_S = 60.0
_POLL_S = 0.02

T = TypeVar("T")


class WireGateway(Gateway):
    """The gateway under the names that tests over the wire use."""

    @property
    def heard(self) -> list[int]:
        """The op codes that the bot has sent."""
        return self.ops

    @property
    def refuse(self) -> Refusal | None:
        """See `Gateway.refusal`."""
        return self.refusal

    @refuse.setter
    def refuse(self, refusal: Refusal | None) -> None:
        self.refusal = refusal

    @property
    def resume_url(self) -> str | None:
        """See `Gateway.resume_address`."""
        return self.resume_address

    @resume_url.setter
    def resume_url(self, address: str | None) -> None:
        self.resume_address = address


class Wire:
    """Discord, the bot's processes, and the files that they share."""

    def __init__(
        self, discord: LoopbackDiscord, bots: BotProcesses, tmp_path: Path, data: str | Path
    ) -> None:
        self.discord, self.bots, self.tmp_path, self.data = discord, bots, tmp_path, Path(data)
        self.log = tmp_path / "log"

    @property
    def gateway(self) -> WireGateway:
        gateway = self.discord._gateway
        assert isinstance(gateway, WireGateway)
        return gateway

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in the server's thread."""
        return self.discord._do(work)

    def start(self) -> None:
        """Start a bot and wait until its session is ready."""
        self.gateway.ready.clear()
        self.bots.start()
        deadline = time.monotonic() + PATIENCE_S
        while not self.gateway.ready.is_set():
            assert self.bots.alive, self.said()[-3000:]
            assert time.monotonic() < deadline, self.said()[-3000:]
            time.sleep(_POLL_S)

    def stopped(self) -> None:
        """Forget the process of a bot that has ended by itself."""
        self.bots.pid = None

    def query(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Read the bot's database; empty while it has none."""
        file = self.data / "floor33.db"
        if not file.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in database.execute(sql, values)]
            except sqlite3.DatabaseError:
                return []

    def until(self, condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
        """Wait until the condition holds and return it. Raises AssertionError."""
        return self.discord.until(condition, timeout_s)

    def wait(self, condition: Callable[[], Any], timeout_s: float) -> Any:
        """Wait as `until` does, but return False when it does not happen."""
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return found

    def states(self) -> list[str]:
        """Return the states of all jobs, oldest first."""
        return [row["state"] for row in self.query("select state from jobs order by created_at")]

    def event(self, name: str, data: Any) -> bool:
        """Send an event to the bot."""
        return self.do(self.gateway.dispatch(name, data))

    def packet(self, packet: Any) -> bool:
        """Send anything to the bot."""
        return self.do(self.gateway._send(packet))

    def close(self, code: int) -> None:
        """Close the bot's connection with this code."""
        self.do(self.gateway.close(code))

    def interaction(
        self,
        kind: int,
        data: dict[str, Any] | None,
        user: int = ALICE,
        message_id: int | None = None,
        drop: Collection[str] = (),
        send: bool = True,
        **change: Any,
    ) -> tuple[Interaction, dict[str, Any]]:
        """Send an INTERACTION_CREATE with keys changed or left out.

        Returns:
            The interaction, and the event.
        """
        state = self.discord.state
        made = state.ask(user, message_id)
        event = {**state.interaction(made, kind, data), **change}
        for key in drop:
            event.pop(key, None)
        if send:
            self.event("INTERACTION_CREATE", event)
        return made, event

    def heard(self, made: Interaction) -> list[str]:
        """Return every sentence that this interaction's user was told."""
        told = []
        for call in self.discord.state.calls:
            if made.token in call.path:
                data = call.payload.get("data") or call.payload
                if isinstance(data, dict) and data.get("content"):
                    told.append(data["content"])
        return told

    def answers(self, timeout_s: float = 8.0) -> bool:
        """Whether the bot still answers a command of somebody else."""
        asked = self.discord.slash(BOB, "queue")
        if asked is None:
            return False
        return bool(self.wait(lambda: asked.acknowledged_at is not None, timeout_s))

    def imagine(self, user: int = ALICE, **options: Any) -> Interaction:
        """Ask for a short clip."""
        asked = self.discord.slash(
            user, "imagine", **({"prompt": "a cat", "steps": 2, "seed": 1} | options)
        )
        assert asked is not None, "nobody listens"
        return asked

    def private(self) -> list[str]:
        """Return what was said to single users."""
        return [m.content for m in self.discord.state.messages.values() if m.flags & EPHEMERAL]

    def said(self) -> str:
        """Return what the bots have logged so far."""
        return self.log.read_text() if self.log.exists() else ""

    def errors(self) -> list[str]:
        """Return the lines of the log that tell of a failure."""
        marks = ("ERROR", "Traceback", "CRITICAL")
        return [line for line in self.said().splitlines() if any(mark in line for mark in marks)]


@contextlib.contextmanager
def wired(tmp_path: Path, overrides: dict[str, Any], more: str = "") -> Iterator[Wire]:
    """Serve a loopback Discord for bots with these settings; `more` is added to bot.toml."""
    config = tmp_path / "bot.toml"
    config.write_text(toml(overrides) + more)
    with (
        LoopbackDiscord(WireGateway) as discord,
        BotProcesses(discord, config, tmp_path / "log") as bots,
    ):
        yield Wire(discord, bots, tmp_path, overrides["data_dir"])


@pytest.fixture
def wire(tmp_path: Path, overrides: dict[str, Any]) -> Iterator[Wire]:
    """The bot's process on a loopback Discord; it is not started yet."""
    with wired(tmp_path, overrides) as made:
        yield made
