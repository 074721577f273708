"""Send requests with the operator's headers only, and read answers of bounded size."""

from __future__ import annotations

import zlib
from typing import Final

import httpx2

from prompt_expansion.address import is_private, may_have_key, wants_azure_header
from prompt_expansion.errors import ExpansionError

LARGEST_ANSWER: Final = 512 * 1024
"""Bytes of an answer, on the wire and unpacked; long reasoning in it included."""

_INFLATE: Final = {"gzip": 47, "x-gzip": 47, "deflate": 47}
"""The encodings that are read although none is asked for, with zlib's window bits."""

_KEPT: Final = frozenset({b"location", b"retry-after", b"retry-after-ms"})
"""The headers of an answer that are read. Others describe a packing that is undone by then."""


class TooLargeError(ExpansionError):
    """An answer is larger than `LARGEST_ANSWER`."""


class BoundedTransport(httpx2.AsyncBaseTransport):
    """Pass requests on to another client and return whole, unpacked answers of bounded size.

    The headers of a request are replaced by those of the other client: the SDK's own describe this
    machine, and hold what OPENAI_ORG_ID, OPENAI_CUSTOM_HEADERS and the like say.

    Args:
        client: The other client. It is closed with the transport.
        query: The query string of every request, as the operator wrote it.
    """

    def __init__(self, client: httpx2.AsyncClient, query: bytes) -> None:
        self._client = client
        self._query = query

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send `request` and read the answer.

        Raises:
            httpx2.TransportError: If the server cannot be reached or breaks off.
            TooLargeError: If the answer is too large.
            ValueError: If the address cannot be used, or the answer cannot be unpacked.
        """
        url = request.url.copy_with(query=self._query or None)
        body = await request.aread()
        async with self._client.stream(request.method, url, content=body) as response:
            raw = bytearray()
            async for chunk in response.aiter_raw():
                raw += chunk
                if len(raw) > LARGEST_ANSWER:
                    raise TooLargeError
        return httpx2.Response(
            response.status_code,
            headers=[item for item in response.headers.raw if item[0].lower() in _KEPT],
            content=_unpacked(bytes(raw), response.headers.get("Content-Encoding", "")),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def make_http_client(base_url: str, api_key: str | None) -> httpx2.AsyncClient:
    """Make a client that takes nothing from the environment but what a public server may need.

    The proxies of the environment are used for public servers only, and a key is sent only where
    nobody on the way can read it. Certificates named by SSL_CERT_FILE count for all.

    Raises:
        OSError, ValueError, ImportError, httpx2.InvalidURL: If the environment's proxies or
            certificates cannot be used.
    """
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
        "User-Agent": "Floor33",
    }
    if api_key is not None and may_have_key(base_url):
        headers["Authorization"] = f"Bearer {api_key}"
        if wants_azure_header(base_url):
            headers["api-key"] = api_key
    return httpx2.AsyncClient(
        headers=headers,
        timeout=None,  # the caller's clock counts
        # A transport of one's own is what keeps the environment's proxies away.
        transport=httpx2.AsyncHTTPTransport() if is_private(base_url) else None,
    )


def _unpacked(raw: bytes, encoding: str) -> bytes:
    encoding = encoding.strip().casefold()
    if encoding in {"", "identity"} or not raw:
        return raw
    if encoding not in _INFLATE:
        raise ValueError(f"content encoding {encoding[:20]!r}")
    unpacker = zlib.decompressobj(_INFLATE[encoding])
    try:
        body = unpacker.decompress(raw, LARGEST_ANSWER + 1)
    except zlib.error as error:
        raise ValueError(f"broken {encoding}") from error
    if len(body) > LARGEST_ANSWER:
        raise TooLargeError
    return body
