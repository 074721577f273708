"""`/metrics`, `/healthz` and `/readyz`."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Final

from aiohttp import web

from bot.errors import BotError
from bot.operations.health import ReadyCheck, examine
from bot.operations.metrics import Metrics

CONNECTION_S: Final = 10.0
"""Seconds for a connection, its request and the answer together; checks take at most 5 s."""
_MAX_CONNECTIONS: Final = 100
_REFUSE_S: Final = 0.01  # the connection has to be made before it can be closed
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class OperationsServerError(BotError):
    """The address cannot be served; one line that says why."""


class OperationsServer:
    """Answers those who look after the bot. It has no login and shows no secrets.

    Args:
        metrics: what `/metrics` shows.
        checks: all of them must be content for `/readyz` to answer 200 rather than 503.
        lag_s: how late the event loop runs, shown by `/healthz`.
        allowed_hosts: names under which it may be asked, beside this machine's own.
        connection_s: how long a connection may take.
    """

    def __init__(
        self,
        metrics: Metrics,
        checks: Mapping[str, ReadyCheck],
        lag_s: Callable[[], float],
        *,
        allowed_hosts: Iterable[str] = (),
        connection_s: float = CONNECTION_S,
    ) -> None:
        self._metrics = metrics
        self._checks = checks
        self._lag_s = lag_s
        self._names = {name.lower() for name in allowed_hosts}
        self._connection_s = connection_s
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> str:
        """Begin to serve; returns the address. `port` 0: any free one.

        Raises:
            OperationsServerError: the port is taken, or the host is not this machine.
        """
        self._names |= {"localhost", host.lower(), socket.gethostname().lower()}
        app = web.Application(middlewares=[self._check_host])
        app.add_routes(
            [
                web.get("/metrics", self._show_metrics),
                web.get("/healthz", self._show_health),
                web.get("/readyz", self._show_readiness),
            ]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: self._connected(runner), host, port, backlog=_MAX_CONNECTIONS
            )
        except OSError as error:
            await runner.cleanup()
            raise OperationsServerError(
                f"operations.host and port: {host}:{port} cannot be served: "
                f"{error.strerror or error}"
            ) from error
        self._runner = runner
        bound = self._server.sockets[0].getsockname()[1]
        return f"http://{f'[{host}]' if ':' in host else host}:{bound}"

    async def close(self) -> None:
        """Serve no more. May be called again."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    def _connected(self, runner: web.AppRunner) -> asyncio.BaseProtocol:
        """A connection's protocol, which ends after a while, whatever has been sent by then."""
        server = runner.server
        assert server is not None  # there is one from setup to cleanup
        protocol = server()
        # Whoever sends half a request would keep its connection for ever.
        asyncio.get_running_loop().call_later(self._connection_s, protocol.force_close)
        if len(server.connections) >= _MAX_CONNECTIONS:
            asyncio.get_running_loop().call_later(_REFUSE_S, protocol.force_close)
        return protocol

    @web.middleware
    async def _check_host(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Answer only under this machine's names: a page elsewhere can give its own name to us."""
        if not self._is_allowed(request.headers.get("Host", "")):
            raise web.HTTPForbidden(text="This name is not in operations.allowed_hosts.\n")
        return await handler(request)

    def _is_allowed(self, host: str) -> bool:
        if not host:
            return True  # a probe that speaks HTTP/1.0; no browser leaves it out
        name, _, port = host.rpartition(":")
        name = (name if port.isdigit() and name else host).strip("[]").rstrip(".").lower()
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True  # an address is nobody's name

    async def _show_metrics(self, request: web.Request) -> web.Response:
        accept = request.headers.get("Accept", "")
        # In a thread: GPUs are asked, and a driver may take its time.
        body, content_type = await asyncio.to_thread(self._metrics.exposition, accept)
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _show_health(self, _request: web.Request) -> web.Response:
        # That there is an answer is the answer: it comes from the loop that Discord needs, too.
        return web.json_response({"ok": True, "loop_lag_s": round(self._lag_s(), 3)})

    async def _show_readiness(self, _request: web.Request) -> web.Response:
        findings = await examine(self._checks)
        ok = all(finding.ok for finding in findings.values())
        report = {"ok": ok, "checks": {name: asdict(found) for name, found in findings.items()}}
        return web.json_response(report, status=200 if ok else 503)
