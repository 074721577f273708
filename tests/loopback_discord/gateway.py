"""The gateway: one WebSocket a bot, on which events go out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import WSMsgType, web

from tests.loopback_discord.state import APPLICATION_ID, BOT_ID, GUILD_ID, State

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, INVALID_SESSION, HELLO, HEARTBEAT_ACK = 0, 1, 2, 6, 9, 10, 11

Refusal = Callable[[dict[str, Any]], Awaitable[bool]]
"""Sees an IDENTIFY or a RESUME before it is answered; True if it has dealt with it."""


class Gateway:
    """Speaks to the bot that identified itself last; `ready` is set while there is one.

    Attributes:
        url: where bots reach it.
        ops: the op codes of all packets that bots have sent.
        refusal: may refuse sessions.
        resume_address: where bots are told to resume; the gateway itself if None.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._socket: web.WebSocketResponse | None = None
        self._deflate: Any = None
        self._sequence = 0
        self._sessions = 0
        self.ready = asyncio.Event()
        self.url = ""
        self.ops: list[int] = []
        self.refusal: Refusal | None = None
        self.resume_address: str | None = None

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """The connection of one bot, until it ends."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._socket = socket
        self._deflate = zlib.compressobj() if "compress" in request.query else None
        await self._send({"op": HELLO, "d": {"heartbeat_interval": 45_000}})
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    packet = json.loads(message.data)
                    self.ops.append(packet["op"])
                    await self._hear(packet)
        finally:
            if self._socket is socket:
                self._socket = None
                self.ready.clear()
        return socket

    async def dispatch(self, event: str, data: Any) -> bool:
        """Send an event; False if nobody listens."""
        self._sequence += 1
        return await self._send({"op": DISPATCH, "t": event, "s": self._sequence, "d": data})

    async def close(self, code: int) -> None:
        """Close the bot's connection, if there is one."""
        if self._socket is not None:
            await self._socket.close(code=code, message=b"test")

    async def _hear(self, packet: dict[str, Any]) -> None:
        op = packet["op"]
        if op == HEARTBEAT:
            await self._send({"op": HEARTBEAT_ACK, "d": None})
            return
        if op not in (IDENTIFY, RESUME):
            return
        if self.refusal is not None and await self.refusal(packet):
            return
        if op == IDENTIFY:
            await self._begin()
        elif packet["d"]["session_id"] == self._session_id:
            await self.dispatch("RESUMED", {})
        else:
            await self._send({"op": INVALID_SESSION, "d": False})
            return
        self.ready.set()

    async def _begin(self) -> None:
        """Answer an IDENTIFY: a new session."""
        self._sessions += 1
        self._sequence = 0
        ready = {
            "v": 10,
            "user": self._state.user(BOT_ID),
            "guilds": [{"id": str(GUILD_ID), "unavailable": True}],
            "session_id": self._session_id,
            "resume_gateway_url": self.resume_address or self.url,
            "application": {"id": str(APPLICATION_ID), "flags": 0},
        }
        await self.dispatch("READY", ready)
        await self.dispatch("GUILD_CREATE", self._state.guild())

    @property
    def _session_id(self) -> str:
        return f"loopback-{self._sessions}"

    async def _send(self, packet: Any) -> bool:
        socket, text = self._socket, json.dumps(packet)
        if socket is None or socket.closed:
            return False
        # The bot may be killed at any moment.
        with contextlib.suppress(ConnectionError, RuntimeError):
            if self._deflate is None:
                await socket.send_str(text)
            else:
                data = self._deflate.compress(text.encode())
                await socket.send_bytes(data + self._deflate.flush(zlib.Z_SYNC_FLUSH))
            return True
        return False
