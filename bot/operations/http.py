"""`/metrics`, `/healthz` and `/readyz`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict

from aiohttp import web

from bot.operations.health import ReadyCheck, examine
from bot.operations.metrics import Metrics


class OperationsServerError(Exception):
    """The address cannot be served; one line that says why."""


class OperationsServer:
    """Answers those who look after the bot. It has no login and shows no secrets.

    Args:
        metrics: what `/metrics` shows.
        checks: all of them must be content for `/readyz` to answer 200 rather than 503.
        lag_s: how late the event loop runs, shown by `/healthz`.
    """

    def __init__(
        self, metrics: Metrics, checks: Mapping[str, ReadyCheck], lag_s: Callable[[], float]
    ) -> None:
        self._metrics = metrics
        self._checks = checks
        self._lag_s = lag_s
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None

    async def start(self, host: str, port: int) -> str:
        """Begin to serve; returns the address. `port` 0: any free one.

        Raises:
            OperationsServerError: the port is taken, or the host is not this machine.
        """
        app = web.Application()
        app.add_routes(
            [
                web.get("/metrics", self._show_metrics),
                web.get("/healthz", self._show_health),
                web.get("/readyz", self._show_readiness),
            ]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            raise OperationsServerError(
                f"operations.host and port: {host}:{port} cannot be served: "
                f"{error.strerror or error}"
            ) from error
        self._runner = runner
        bound = runner.addresses[0][1]
        return f"http://{f'[{host}]' if ':' in host else host}:{bound}"

    async def close(self) -> None:
        """Serve no more. May be called again."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

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
