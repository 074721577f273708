"""The server, in a thread of its own, and how a test speaks to it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web

from tests.loopback_discord.gateway import Gateway
from tests.loopback_discord.rest import PREFIX, Hook, Rest
from tests.loopback_discord.state import CHANNEL_ID, Interaction, State

T = TypeVar("T")
_OPTION_TYPES: dict[type, int] = {str: 3, bool: 5, int: 4, float: 10}


class LoopbackDiscord:
    """Discord on a local port; a context manager. Its methods may be called by the test's thread.

    Args:
        gateway: the class of its gateway.

    Attributes:
        state: all that there is; look at it, it changes under your eyes.
        url: base of the HTTP interface.
        gateway_url: of the WebSocket.
    """

    def __init__(self, gateway: type[Gateway] = Gateway) -> None:
        self.state = State()
        self._gateway_type = gateway
        self.url = self.gateway_url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="discord", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._do(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def hook(self, hook: Hook | None) -> None:
        """Have each call of the bot told to `hook`, in the server's thread."""
        self._rest.hook = hook

    def wait_ready(self, timeout_s: float) -> None:
        """Wait for a bot that listens. Raises TimeoutError."""

        async def ready() -> None:
            async with asyncio.timeout(timeout_s):
                await self._gateway.ready.wait()

        self._do(ready())

    def slash(
        self, user_id: int, command: str, *, channel_id: int = CHANNEL_ID, **options: Any
    ) -> Interaction | None:
        """A user types a command; None if no bot is there to hear of it."""
        data = {
            "id": "7001",
            "name": command,
            "type": 1,
            "options": [
                {"name": name, "type": _OPTION_TYPES[type(value)], "value": value}
                for name, value in options.items()
            ],
        }
        return self._do(self._interact(self.state.ask(user_id, None, channel_id), 2, data))

    def click(
        self, user_id: int, custom_id: str, message_id: int, *, channel_id: int = CHANNEL_ID
    ) -> Interaction | None:
        """A user clicks a button."""
        data = {"component_type": 2, "custom_id": custom_id}
        return self._do(self._interact(self.state.ask(user_id, message_id, channel_id), 3, data))

    def until(self, condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
        """Wait until the condition holds and return it. Raises AssertionError."""
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            if time.monotonic() > deadline:
                last = [(c.method, c.path, c.payload.get("content")) for c in self.state.calls[-8:]]
                raise AssertionError(f"it did not happen; last calls: {last}")
            time.sleep(0.02)
        return found

    async def _start(self) -> None:
        self._gateway, self._rest = self._gateway_type(self.state), Rest(self.state)
        app = web.Application(client_max_size=2**28)
        app.router.add_get("/gateway/", self._gateway.handle)
        app.add_routes(self._rest.routes())
        self._runner = web.AppRunner(app, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}{PREFIX}"
        self.gateway_url = f"ws://127.0.0.1:{port}/gateway/"
        self._gateway.url = self._rest.gateway_url = self.gateway_url

    async def _interact(
        self, made: Interaction, kind: int, data: dict[str, Any]
    ) -> Interaction | None:
        event = self.state.interaction(made, kind, data)
        return made if await self._gateway.dispatch("INTERACTION_CREATE", event) else None

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        with contextlib.suppress(KeyboardInterrupt):
            return future.result()
        raise KeyboardInterrupt
