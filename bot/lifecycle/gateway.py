"""The connection to Discord's gateway: kept up, within what Discord allows.

discord.py's own loop ends the process for an event that it cannot read, tries again without a
pause after a resumption that is ended at once, and asks a dead address for ever. This one takes
its place; the protocol itself stays discord.py's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import discord
import yarl
from discord.gateway import DiscordWebSocket, ReconnectWebSocket

from bot.errors import BotError
from bot.lifecycle.backoff import GatewayBackoff
from bot.protocols import BotClient

logger = logging.getLogger(__name__)

FATAL: Final = frozenset({4004, 4010, 4011, 4012, 4013, 4014})
"""Close codes after which Discord refuses every further try."""
_INTENTS_REFUSED: Final = 4014
_OPEN_S: Final = 60.0
_REOPEN_S: Final = 10.0
"""A dead address for resumptions shall not take the bot off for minutes."""
_CLOSE_S: Final = 5.0
_ASK_S: Final = 10.0
_READY, _RESUMED = "READY", "RESUMED"
_NETWORK: Final = (OSError, aiohttp.ClientError, discord.HTTPException, discord.GatewayNotFound)


class SessionUnreadableError(BotError):
    """A packet without which there is no session (HELLO, READY) cannot be read."""


class GuardedWebSocket(DiscordWebSocket):
    """discord.py's connection; a packet that cannot be read costs that packet."""

    async def received_message(self, msg: Any, /) -> None:
        """Read a packet.

        Raises:
            ReconnectWebSocket, discord.ConnectionClosed, OSError, aiohttp.ClientError: the
                connection is over.
            SessionUnreadableError: there is no session without this packet.
        """
        if isinstance(msg, bytes):
            try:
                msg = self._decompressor.decompress(msg)
            except Exception as error:  # each library that may be installed raises its own
                # Whatever follows in the stream is lost as well.
                raise SessionUnreadableError("the compressed stream is damaged") from error
            if msg is None:
                return
        try:
            await super().received_message(msg)
        except (ReconnectWebSocket, discord.ConnectionClosed, *_NETWORK):
            raise
        except Exception as error:  # noqa: BLE001 - whatever one packet raises costs that packet
            await self._skip(msg, error)

    async def _skip(self, text: str, error: Exception) -> None:
        packet: Any = None
        with contextlib.suppress(ValueError):
            packet = json.loads(text)
        event, op, data = None, None, packet
        if isinstance(packet, dict):
            event, op, data = packet.get("t"), packet.get("op"), packet.get("d")
        if op == self.DISPATCH and event == _RESUMED:
            self._discord_parsers[_RESUMED]({})  # its data is of no use
            return
        if op == self.DISPATCH and event == _READY and isinstance(data, dict):
            defaults = {"resume_gateway_url": str(self.gateway), "guilds": []}
            if any(data.get(key) is None for key in defaults):
                known = {key: value for key, value in data.items() if value is not None}
                await self.received_message(json.dumps({**packet, "d": defaults | known}))
                return
        bot: BotClient = self._connection._get_client()  # type: ignore[assignment]
        bot.events.skip(event or f"op {op}", data, error)
        if op == self.HELLO or (op == self.DISPATCH and event == _READY):
            raise SessionUnreadableError(event or "HELLO") from None


@dataclass(frozen=True, slots=True)
class _Session:
    """The data needed to resume a session."""

    id: str
    sequence: int | None
    address: yarl.URL


class GatewayConnection:
    """Keeps the bot connected; owned by the bot.

    Args:
        bot: whose connection it is.
    """

    def __init__(self, bot: BotClient) -> None:
        self._bot = bot
        self._backoff = GatewayBackoff()
        self._closing = asyncio.Event()
        self._session: _Session | None = None
        self._began_at: float | None = None
        bot.add_listener(self._began, "on_connect")
        bot.add_listener(self._began, "on_resumed")

    def stop(self) -> None:
        """Try no more; a pause ends at once."""
        self._closing.set()

    async def _began(self) -> None:
        """Note that the session has begun or goes on."""
        self._began_at = time.monotonic()

    @property
    def _ended(self) -> bool:
        return self._closing.is_set() or self._bot.is_closed()

    async def run(self) -> None:
        """Connect, and connect again whenever the connection is lost, until `stop`.

        Raises:
            discord.ConnectionClosed: Discord refuses every further try, e.g. the token.
            discord.PrivilegedIntentsRequired: it refuses the intents.
        """
        while await self._pause(self._backoff.pause_s(resuming=self._session is not None)):
            if self._session is None and not await self._may_identify():
                return
            resumed, ws, resumable = self._session is not None, None, True
            self._began_at = None
            try:
                ws = await self._open()
                while True:
                    await ws.poll_event()
            except ReconnectWebSocket as end:
                resumable, why = end.resume, _close_reason(ws)
            except discord.ConnectionClosed as error:
                if not self._ended and error.code in FATAL:
                    await self._refused(error)
                why = _close_reason(ws)
            except SessionUnreadableError as error:
                resumable, why = False, f"unreadable: {error}"
            except _NETWORK as error:
                why = f"{type(error).__name__}: {error}"
            await self._lost(ws, why, resumed=resumed, resumable=resumable)

    async def _open(self) -> GuardedWebSocket:
        """Connect, and resume the session or begin one. Raises as `poll_event`, TimeoutError."""
        session, options = self._session, dict[str, Any]()
        if session is not None:
            options = {
                "resume": True,
                "session": session.id,
                "sequence": session.sequence,
                "gateway": session.address,
            }
        # `initial`: the pauses before an IDENTIFY are made here, not in discord.py's hook.
        opening = GuardedWebSocket.from_client(
            self._bot, initial=True, shard_id=self._bot.shard_id, **options
        )
        ws = await asyncio.wait_for(opening, _OPEN_S if session is None else _REOPEN_S)
        self._bot.ws = ws
        return ws

    async def _lost(
        self, ws: GuardedWebSocket | None, why: str, *, resumed: bool, resumable: bool
    ) -> None:
        if self._ended:
            return
        lived_s = 0.0 if self._began_at is None else time.monotonic() - self._began_at
        if ws is not None:
            self._session = _session_of(ws)
            await _close(ws)
        self._backoff.note(lived_s, resumed=resumed, identified=ws is not None and not resumed)
        if not resumable or (self._session is not None and self._backoff.give_up_session()):
            self._session = None
        if self._backoff.steady and self._session is not None:
            logger.info("the connection to Discord ended (%s); it is resumed", why)
        else:
            logger.warning(
                "the connection to Discord ended after %.1f s (%s); %s",
                lived_s,
                why,
                "it is resumed" if self._session is not None else "a new session is begun",
            )
        self._bot.dispatch("disconnect")

    async def _refused(self, error: discord.ConnectionClosed) -> None:
        await self._bot.close()
        if error.code == _INTENTS_REFUSED:
            raise discord.PrivilegedIntentsRequired(error.shard_id) from None
        raise error

    async def _may_identify(self) -> bool:
        """Wait until Discord allows another session; False when the bot is closed meanwhile."""
        try:
            async with asyncio.timeout(_ASK_S):
                _, _, limit = await self._bot.http.get_bot_gateway()
            remaining, reset_s = int(limit["remaining"]), int(limit["reset_after"]) / 1000
        except (*_NETWORK, RuntimeError, LookupError, TypeError, ValueError) as error:
            logger.debug("Discord does not tell how many sessions may be begun: %s", error)
            return not self._ended
        if remaining > 0:
            return not self._ended
        logger.warning("Discord allows no new session for %.0f s; waiting", reset_s)
        return await self._pause(reset_s)

    async def _pause(self, seconds: float) -> bool:
        """Wait; False if the bot is closed."""
        if self._ended:
            return False
        if seconds > 0:
            if seconds >= 1:
                logger.info("the next try to connect to Discord is in %.0f s", seconds)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._closing.wait()
        return not self._ended


def _session_of(ws: GuardedWebSocket) -> _Session | None:
    if ws.session_id is None:
        return None
    return _Session(ws.session_id, ws.sequence, ws.gateway)


def _close_reason(ws: GuardedWebSocket | None) -> str:
    if ws is None:
        return "before it was open"
    return f"code {ws._close_code or ws.socket.close_code}"


async def _close(ws: GuardedWebSocket) -> None:
    """End the connection and its heartbeats, if that has not been done."""
    with contextlib.suppress(*_NETWORK, RuntimeError):
        async with asyncio.timeout(_CLOSE_S):
            await ws.close(code=4000)
