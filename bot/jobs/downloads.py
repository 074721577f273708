"""Downloads from Discord's CDN that end when they are larger than promised."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import aiohttp
import discord
from discord.http import HTTPClient

from bot.errors import BotError

_CHUNK: Final = 65_536
_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, sock_connect=15, sock_read=20)


class DownloadTooLargeError(BotError):
    """The file is larger than was allowed; it was not read to its end."""


class CappedDownloads:
    """Reads files as discord.py does, but no more than so many bytes of one.

    discord.py reads whatever is sent into memory, whatever the size that was stated.
    """

    def __init__(self, http: HTTPClient, max_bytes: int) -> None:
        self._http = http
        self._max_bytes = max_bytes

    async def get(self, url: str) -> bytes:
        """Return the file at the address.

        Raises:
            DownloadTooLargeError: it is larger than allowed.
            discord.HTTPException: it was refused.
            aiohttp.ClientError, TimeoutError: it did not arrive.
        """
        proxy, proxy_auth = self._http.proxy, self._http.proxy_auth
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.get(url, proxy=proxy, proxy_auth=proxy_auth) as response,
        ):
            if response.status == HTTPStatus.NOT_FOUND:
                raise discord.NotFound(response, "asset not found")
            if response.status == HTTPStatus.FORBIDDEN:
                raise discord.Forbidden(response, "cannot retrieve asset")
            if response.status != HTTPStatus.OK:
                raise discord.HTTPException(response, "failed to get asset")
            content = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK):
                content += chunk
                if len(content) > self._max_bytes:
                    raise DownloadTooLargeError(f"more than {self._max_bytes} bytes")
            return bytes(content)


def cap_downloads(http: HTTPClient, max_bytes: int) -> None:
    """Have every attachment that this client reads end after so many bytes.

    Does nothing to a client whose downloads somebody has replaced already (a simulated Discord).
    """
    if type(http).get_from_cdn is HTTPClient.get_from_cdn:
        http.get_from_cdn = CappedDownloads(http, max_bytes).get  # type: ignore[method-assign]
