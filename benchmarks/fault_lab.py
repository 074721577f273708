"""A Discord that fails one user at a time, and the bot process that has to live with it."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any, Final, Protocol

from tests.loopback_discord import Call, LoopbackDiscord
from tests.loopback_discord.process import BotProcesses
from tests.loopback_discord.state import GUILD_ID

_EDIT_INTERVAL_S: Final = 0.05
RETRY_S: Final = 0.2
_READY_S: Final = 120.0
_ROWS_S: Final = 0.15
_ROWS: Final = """
select j.id, j.seed, j.user_id, j.state, j.error, j.reason,
       g.id as clip, g.path, g.deleted_at
from jobs j left join generations g on g.job_id = j.id
"""
_CONFIG: Final = """
data_dir = "{data}"
[engine]
devices = ["cpu"]
threads = 1
grace_s = 2
[models]
text_to_video = "tiny-t2v"
[models.extra]
tiny-t2v = "{model}"
[limits]
max_active_jobs_per_user = 1000
max_active_jobs_per_guild = 100000
"""


class Guest(Protocol):
    """A user whose calls may fail. `meet` is told of each, before and after its effect."""

    user_id: int
    channel_id: int

    async def meet(self, call: Call, done: bool) -> None:
        """Raise the answer that the call gets, or do nothing."""

    def recover(self) -> None:
        """Let no call fail any more."""


class Lab:
    """One loopback Discord, and bots one after the other on one data folder.

    Args:
        discord: the server.
        bots: starts the processes.
        folder: for data folders and the log.
        config: the file that the bots read their settings from.
        model: the folder of the model that they serve.
    """

    def __init__(
        self, discord: LoopbackDiscord, bots: BotProcesses, folder: Path, config: Path, model: Path
    ) -> None:
        self.discord, self._bots, self._config = discord, bots, config
        self._folder, self._model = folder, model
        self._by_user: dict[int, Guest] = {}
        self._by_channel: dict[int, Guest] = {}
        self._rounds = self._numbers = 0
        self._database = folder / "none.db"
        self._rows: list[dict[str, Any]] = []
        self._read_at = float("-inf")
        self._reading = threading.Lock()

    def number(self) -> int:
        """Return a number that nobody else has in this lab."""
        self._numbers += 1
        return self._numbers

    def open(self, guests: Iterable[Guest]) -> None:
        """Start a bot on an empty data folder, for these users alone."""
        state = self.discord.state
        state.messages.clear()
        state.calls.clear()
        self._by_user, self._by_channel = {}, {}
        for guest in guests:
            self._by_user[guest.user_id] = self._by_channel[guest.channel_id] = guest
            state.users[guest.user_id] = f"user{guest.user_id}"
        state.channels = set(self._by_channel)
        self._rounds += 1
        data = self._folder / f"data{self._rounds}"
        self._database, self._read_at = data / "floor33.db", float("-inf")
        self._config.write_text(_CONFIG.format(data=data, model=self._model))
        self.discord.hook(self._hook)
        self._start()

    def restart(self, *, kill: bool) -> None:
        """End the bot, let Discord recover, and start another bot."""
        self._bots.kill(SIGKILL if kill else SIGTERM)
        for guest in self._by_user.values():
            guest.recover()
        self._start()

    def close(self) -> None:
        """End the bot."""
        self.discord.hook(None)
        self._bots.kill()

    def rows(self) -> list[dict[str, Any]]:
        """Return the jobs and their clips, as they were a moment ago."""
        with self._reading:
            if time.monotonic() - self._read_at > _ROWS_S:
                self._rows, self._read_at = self._read(), time.monotonic()
            return self._rows

    def _read(self) -> list[dict[str, Any]]:
        if not self._database.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in db.execute(_ROWS)]
            except sqlite3.OperationalError:  # its tables are just made, or it is locked
                return self._rows

    @property
    def data_dir(self) -> Path:
        """The present bot's data folder."""
        return self._database.parent

    def _start(self) -> None:
        self.discord._gateway.ready.clear()
        self._bots.start()
        self.discord.wait_ready(_READY_S)

    async def _hook(self, call: Call, done: bool) -> int | None:
        if done and call.method == "DELETE":
            await self._tell_of_deletion(call)
        guest = self._guest(call)
        if guest is not None:
            await guest.meet(call, done)
        return None

    def _guest(self, call: Call) -> Guest | None:
        state, parts = self.discord.state, call.path.split("/")
        match parts[1:]:
            case ["interactions" | "webhooks", _, token, *_]:
                asked = state.interactions.get(token)
                return None if asked is None else self._by_user.get(asked.user_id)
            case ["channels", number, *_]:
                channel = int(number)
                for user, direct in state.direct_channels.items():
                    if direct == channel:
                        return self._by_user.get(user)
                return self._by_channel.get(channel)
            case ["users", "@me", "channels"]:
                return self._by_user.get(int(call.payload["recipient_id"]))
            case ["users", number] if number.isdecimal():
                return self._by_user.get(int(number))
        return None

    async def _tell_of_deletion(self, call: Call) -> None:
        """Send the event that Discord sends when a message is gone."""
        match call.path.split("/")[1:]:
            case ["webhooks", _, token, "messages", "@original"]:
                asked = self.discord.state.interactions[token]
                channel, message = asked.channel_id, asked.message_id
            case ["channels", channel, "messages", message]:
                pass
            case _:
                return
        data = {"id": str(message), "channel_id": str(channel), "guild_id": str(GUILD_ID)}
        await self.discord._gateway.dispatch("MESSAGE_DELETE", data)


@contextmanager
def lab(folder: Path, model: Path) -> Iterator[Lab]:
    """Return a lab whose processes live until the end of the block."""
    folder.mkdir(parents=True)
    config, pace = folder / "bot.toml", (_EDIT_INTERVAL_S, RETRY_S)
    with (
        LoopbackDiscord() as discord,
        BotProcesses(discord, config, folder / "log", pace) as bots,
    ):
        made = Lab(discord, bots, folder, config, model)
        yield made
        made.close()
