"""Files of Discord's CDN, from a server that does not keep its word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import discord
import pytest
from aiohttp import web
from discord.http import HTTPClient

from bot.jobs.downloads import CappedDownloads, DownloadTooLargeError, cap_downloads

LIMIT = 100_000


class Cdn:
    def __init__(self) -> None:
        self.sent = 0

    async def file(self, request: web.Request) -> web.StreamResponse:
        size = int(request.match_info["size"])
        return web.Response(body=b"x" * size)

    async def endless(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(10_000):
            await answer.write(b"x" * 10_000)
            self.sent += 10_000
        return answer

    async def packed(self, request: web.Request) -> web.StreamResponse:
        answer = web.Response(body=b"\0" * 50_000_000)
        answer.enable_compression(web.ContentCoding.gzip)
        return answer

    async def cut(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": "1000"})
        await answer.prepare(request)
        await answer.write(b"x" * 10)
        assert request.transport is not None
        request.transport.close()
        return answer

    async def refused(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=int(request.match_info["status"]), text="no")


@pytest.fixture
async def cdn() -> AsyncIterator[tuple[Cdn, str]]:
    made = Cdn()
    app = web.Application()
    app.router.add_get("/file/{size}", made.file)
    app.router.add_get("/endless", made.endless)
    app.router.add_get("/packed", made.packed)
    app.router.add_get("/cut", made.cut)
    app.router.add_get("/status/{status}", made.refused)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield made, f"http://127.0.0.1:{port}"
    await runner.cleanup()


@pytest.fixture
async def downloads() -> CappedDownloads:
    client = discord.Client(intents=discord.Intents.none())
    return CappedDownloads(client.http, LIMIT)


async def test_a_file_up_to_the_limit(cdn: tuple[Cdn, str], downloads: CappedDownloads) -> None:
    assert await downloads.get(f"{cdn[1]}/file/{LIMIT}") == b"x" * LIMIT
    with pytest.raises(DownloadTooLargeError):
        await downloads.get(f"{cdn[1]}/file/{LIMIT + 1}")


@pytest.mark.parametrize("path", ["endless", "packed"])
async def test_what_does_not_end_is_not_read(
    cdn: tuple[Cdn, str], downloads: CappedDownloads, path: str
) -> None:
    with pytest.raises(DownloadTooLargeError):
        await downloads.get(f"{cdn[1]}/{path}")
    assert cdn[0].sent < 50_000_000


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("status/404", discord.NotFound),
        ("status/403", discord.Forbidden),
        ("status/500", discord.HTTPException),
        ("cut", aiohttp.ClientPayloadError),
    ],
)
async def test_what_does_not_arrive(
    cdn: tuple[Cdn, str], downloads: CappedDownloads, path: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await downloads.get(f"{cdn[1]}/{path}")


async def test_the_librarys_own_downloads_are_capped(cdn: tuple[Cdn, str]) -> None:
    client = discord.Client(intents=discord.Intents.none())
    cap_downloads(client.http, LIMIT)
    with pytest.raises(DownloadTooLargeError):
        await client.http.get_from_cdn(f"{cdn[1]}/endless")


async def test_a_simulated_discord_keeps_its_own() -> None:
    class Simulated(HTTPClient):
        async def get_from_cdn(self, url: str) -> bytes:
            return b"simulated"

    client = discord.Client(intents=discord.Intents.none())
    http: Any = Simulated.__new__(Simulated)
    http.__dict__.update(client.http.__dict__)
    cap_downloads(http, LIMIT)
    assert await http.get_from_cdn("x") == b"simulated"
