"""`/metrics`, `/healthz` and `/readyz`, asked over a real socket."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot.operations import health
from bot.operations.health import HealthStatus, LoopLag, disk_check, in_charge_check, store_check
from bot.operations.http import OperationsServer, OperationsServerError
from bot.operations.metrics import Metrics
from bot.store import Store


class Bot:
    """What the checks look at."""

    def __init__(self) -> None:
        self.findings: dict[str, HealthStatus] = {"gateway": HealthStatus(True, "connected")}
        self.metrics = Metrics()

    async def gateway(self) -> HealthStatus:
        return self.findings["gateway"]


@pytest.fixture
def bot() -> Bot:
    return Bot()


@pytest.fixture
async def server(bot: Bot) -> AsyncIterator[str]:
    served = OperationsServer(bot.metrics, {"gateway": bot.gateway}, lambda: 0.25)
    yield await served.start("127.0.0.1", 0)
    await served.close()
    await served.close()


async def get(address: str, **headers: str) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(address, headers=headers) as response,
    ):
        return response.status, response.headers["Content-Type"], await response.text()


async def get_json(address: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(address) as response:
        return response.status, await response.json()


async def test_metrics_can_be_scraped(bot: Bot, server: str) -> None:
    bot.metrics.job_ended("delivered")
    status, kind, text = await get(f"{server}/metrics")
    assert (status, kind.partition(";")[0]) == (200, "text/plain")
    assert 'floor33_jobs_ended_total{reason="",state="delivered"} 1.0' in text
    _, kind, _ = await get(f"{server}/metrics", Accept="application/openmetrics-text")
    assert kind.startswith("application/openmetrics-text")


async def test_health_is_that_the_loop_answers(server: str) -> None:
    assert await get_json(f"{server}/healthz") == (200, {"ok": True, "loop_lag_s": 0.25})


async def test_readiness_follows_every_check(bot: Bot, server: str) -> None:
    assert await get_json(f"{server}/readyz") == (
        200,
        {"ok": True, "checks": {"gateway": {"ok": True, "detail": "connected"}}},
    )
    bot.findings["gateway"] = HealthStatus(False, "not connected")
    status, report = await get_json(f"{server}/readyz")
    assert status == 503
    assert report["checks"]["gateway"] == {"ok": False, "detail": "not connected"}
    assert report["ok"] is False


async def test_nothing_else_is_served(server: str) -> None:
    assert (await get(f"{server}/"))[0] == 404
    async with aiohttp.ClientSession() as session, session.post(f"{server}/readyz") as response:
        assert response.status == 405


async def test_a_taken_port_is_one_line(server: str) -> None:
    port = int(server.rpartition(":")[2])
    other = OperationsServer(Metrics(), {}, lambda: 0.0)
    with pytest.raises(OperationsServerError, match=f"127.0.0.1:{port} cannot be served") as error:
        await other.start("127.0.0.1", port)
    assert "\n" not in str(error.value)
    await other.close()


async def test_a_check_that_fails_or_hangs_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PATIENCE_S", 0.05)

    async def hangs() -> HealthStatus:
        await asyncio.Event().wait()
        raise AssertionError

    async def breaks() -> HealthStatus:
        raise RuntimeError("with details for nobody")

    found = await health.examine({"hangs": hangs, "breaks": breaks})
    assert not found["hangs"].ok
    assert "no answer" in found["hangs"].detail
    assert found["breaks"] == HealthStatus(False, "the check failed; see the log")


async def test_a_store_is_ready_while_it_can_be_written_to(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "floor33.db")
    check = store_check(store)
    assert await check() == HealthStatus(True, "writable")
    await store.close()
    finding = await check()
    assert not finding.ok
    assert "closed" in finding.detail


async def test_a_full_disk_is_not_ready(tmp_path: Path) -> None:
    assert (await disk_check(tmp_path, 0)()).ok
    finding = await disk_check(tmp_path, 10**9)()
    assert not finding.ok
    assert finding.detail.endswith("MiB free")


async def test_a_bot_that_ends_is_not_ready() -> None:
    ending = False
    check = in_charge_check(lambda: ending)
    assert (await check()).ok
    ending = True
    assert await check() == HealthStatus(False, "ending")


async def test_a_blocked_loop_shows() -> None:
    now = 100.0
    lag = LoopLag(tick_s=0.001, clock=lambda: now)
    assert lag.seconds() == 0.0
    now += 3.5  # no tick for so long
    assert lag.seconds() == pytest.approx(3.499)
    task = asyncio.create_task(lag.run())
    async with asyncio.timeout(30):
        while lag.seconds() > 0:  # noqa: ASYNC110 - a clock is no event
            await asyncio.sleep(0)
    now += 1.0
    assert lag.seconds() == pytest.approx(0.999)
    task.cancel()


# ------------------------------------------------------------------ who may ask, how long


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/healthz", "/elsewhere"])
@pytest.mark.parametrize(
    "host", ["evil.test", "evil.test:9133", "127.0.0.1.evil.test", "localhost.evil.test", "[x]:1"]
)
async def test_a_foreign_name_is_not_answered(server: str, path: str, host: str) -> None:
    status, _, text = await get(f"{server}{path}", Host=host)
    assert status == 403
    assert "floor33" not in text


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:9133", "LOCALHOST", "10.0.0.7:80", "[::1]:9133", "prom.lan:1"]
)
async def test_an_address_and_a_known_name_are_answered(bot: Bot, host: str) -> None:
    served = OperationsServer(bot.metrics, {}, lambda: 0.0, allowed_hosts=["prom.LAN"])
    address = await served.start("127.0.0.1", 0)
    try:
        assert (await get(f"{address}/healthz", Host=host))[0] == 200
    finally:
        await served.close()


async def read_to_the_end(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(20):
        return await reader.read()


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /healthz HTTP/1.1\r\n", b"POST /healthz HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"],
)
async def test_a_connection_ends_whatever_was_sent(bot: Bot, sent: bytes) -> None:
    served = OperationsServer(bot.metrics, {}, lambda: 0.0, connection_s=0.3)
    address = await served.start("127.0.0.1", 0)
    try:
        host, port = address.removeprefix("http://").split(":")
        halves = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
        for _, writer in halves:
            writer.write(sent)
            await writer.drain()
        assert (await get_json(f"{address}/healthz"))[0] == 200
        await asyncio.gather(*(read_to_the_end(reader) for reader, _ in halves))
        for _, writer in halves:
            writer.close()
    finally:
        await served.close()


async def test_more_connections_than_anybody_needs_are_closed_at_once(bot: Bot) -> None:
    served = OperationsServer(bot.metrics, {}, lambda: 0.0, connection_s=60)
    address = await served.start("127.0.0.1", 0)
    try:
        host, port = address.removeprefix("http://").split(":")
        held = [await asyncio.open_connection(host, int(port)) for _ in range(130)]
        await read_to_the_end(held[-1][0])
        for _, writer in held:
            writer.close()
    finally:
        await served.close()
