"""The gateway: one WebSocket a bot, on which events go out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import zlib
from typing import Any

from aiohttp import WSMsgType, web

from tests.loopback_discord.state import APPLICATION_ID, BOT_ID, GUILD_ID, State

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, HELLO, HEARTBEAT_ACK = 0, 1, 2, 6, 10, 11


class Gateway:
    """Speaks to the bot that identified itself last; `ready` is set while there is one."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._socket: web.WebSocketResponse | None = None
        self._deflate: Any = None
        self._sequence = 0
        self.ready = asyncio.Event()

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """The connection of one bot, until it ends."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._socket, self._sequence = socket, 0
        self._deflate = zlib.compressobj() if "compress" in request.query else None
        await self._send({"op": HELLO, "d": {"heartbeat_interval": 45_000}})
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._hear(json.loads(message.data))
        finally:
            if self._socket is socket:
                self._socket = None
                self.ready.clear()
        return socket

    async def dispatch(self, event: str, data: Any) -> bool:
        """Send an event; False if nobody listens."""
        self._sequence += 1
        return await self._send({"op": DISPATCH, "t": event, "s": self._sequence, "d": data})

    async def _hear(self, packet: dict[str, Any]) -> None:
        if packet["op"] == HEARTBEAT:
            await self._send({"op": HEARTBEAT_ACK, "d": None})
        elif packet["op"] in (IDENTIFY, RESUME):
            ready = {
                "v": 10,
                "user": self._state.user(BOT_ID),
                "guilds": [{"id": str(GUILD_ID), "unavailable": True}],
                "session_id": "loopback",
                "resume_gateway_url": str(packet["d"].get("url", "ws://127.0.0.1/")),
                "application": {"id": str(APPLICATION_ID), "flags": 0},
            }
            await self.dispatch("READY", ready)
            await self.dispatch("GUILD_CREATE", self._state.guild())
            self.ready.set()

    async def _send(self, packet: dict[str, Any]) -> bool:
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
