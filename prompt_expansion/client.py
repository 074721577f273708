"""The OpenAI SDK, kept from taking its configuration from the environment."""

from __future__ import annotations

import contextlib
from math import isfinite
from typing import Any

import httpx2
from openai import APIStatusError, AsyncOpenAI, Omit

# The SDK imports this on first use otherwise, while the time limit of the first request runs.
from openai.resources.chat import AsyncCompletions

from prompt_expansion.transport import BoundedTransport, make_http_client


class _Client(AsyncOpenAI):
    """An SDK client whose requests have no headers but those of the transport."""

    @property
    def default_headers(self) -> dict[str, str | Omit]:
        """Nothing: a malformed OPENAI_CUSTOM_HEADERS must not break a request either."""
        return {}


def make_client(base_url: str, api_key: str | None) -> AsyncOpenAI:
    """Make a client that neither retries nor follows redirects nor sets a time limit.

    Raises:
        OSError, ValueError, ImportError, httpx2.InvalidURL: If the environment's proxies or
            certificates cannot be used.
    """
    http_client = make_http_client(base_url, api_key)
    transport = BoundedTransport(http_client, httpx2.URL(base_url).query)
    return _Client(
        base_url=base_url,
        api_key="unused",  # the transport sends the key, where it may; None: the environment's
        max_retries=0,
        timeout=None,
        http_client=httpx2.AsyncClient(transport=transport),
    )


async def post(client: AsyncOpenAI, base_url: str, body: dict[str, Any]) -> httpx2.Response:
    """Ask the server at `base_url` for a chat completion.

    Returns:
        Its answer, whatever the status.

    Raises:
        openai.APIConnectionError: If the server cannot be reached or breaks off.
        TooLargeError: If the answer is too large.
        ValueError, httpx2.InvalidURL: If the address cannot be used, or the answer not be unpacked.
        RuntimeError: If the client is closed.
    """
    completions: AsyncCompletions = client.with_options(base_url=base_url).chat.completions
    try:
        answer = await completions.with_raw_response.create(**body)
    except APIStatusError as error:
        return error.response
    response: httpx2.Response = answer.http_response
    return response


def retry_after_s(headers: httpx2.Headers) -> float | None:
    """Return the seconds after which a server wants to be asked again.

    Returns:
        None if it does not say; infinity if it cannot be understood.
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (value := headers.get(name)) is not None:
            with contextlib.suppress(ValueError):
                seconds = float(value) * unit_s
                return max(0.0, seconds) if isfinite(seconds) else float("inf")
            return float("inf")  # a date is never as near as to be waited for
    return None
