"""Send one request and read an answer of bounded size."""

import contextlib
import zlib
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import httpx2

from prompt_expansion.address import is_private, may_have_key, wants_azure_header

LARGEST_ANSWER: Final = 512 * 1024
"""Bytes of an answer, on the wire and unpacked; long reasoning in it included."""

_INFLATE: Final = {"gzip": 47, "x-gzip": 47, "deflate": 47}
"""The encodings that are read although none is asked for, with zlib's window bits."""


class TooLargeError(Exception):
    """An answer is larger than `LARGEST_ANSWER`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer.

    Attributes:
        retry_after_s: Seconds after which the server wants to be asked again; None if it does not
            say, infinity if it cannot be understood.
    """

    status: int
    body: bytes
    retry_after_s: float | None = None
    location: str | None = None


def make_client(base_url: str, api_key: str | None) -> httpx2.AsyncClient:
    """Make a client that takes nothing from the environment but what a public server may need.

    The proxies of the environment are used for public servers only, and a key is sent only where
    nobody on the way can read it. Certificates named by SSL_CERT_FILE count for all.

    Raises:
        OSError, ValueError, ImportError, httpx2.InvalidURL: If the environment's proxies or
            certificates cannot be used.
    """
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "Floor33"}
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


async def post(client: httpx2.AsyncClient, url: str, body: dict[str, Any]) -> Answer:
    """Send `body` as JSON.

    Raises:
        httpx2.TransportError: If the server cannot be reached or breaks off.
        TooLargeError: If the answer is too large.
        ValueError: If the address cannot be used, or the answer cannot be unpacked.
    """
    async with client.stream("POST", url, json=body) as response:
        raw = bytearray()
        async for chunk in response.aiter_raw():
            raw += chunk
            if len(raw) > LARGEST_ANSWER:
                raise TooLargeError
        return Answer(
            response.status_code,
            _unpacked(bytes(raw), response.headers.get("Content-Encoding", "")),
            _retry_after_s(response.headers),
            response.headers.get("Location"),
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


def _retry_after_s(headers: httpx2.Headers) -> float | None:
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (value := headers.get(name)) is not None:
            with contextlib.suppress(ValueError):
                seconds = float(value) * unit_s
                return max(0.0, seconds) if isfinite(seconds) else float("inf")
            return float("inf")  # a date is never as near as to be waited for
    return None
