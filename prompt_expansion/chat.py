"""Ask an OpenAI-compatible server, whatever its ways."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx2
from openai import APIConnectionError, AsyncOpenAI

from prompt_expansion.address import base_urls, may_have_key, without_secrets
from prompt_expansion.client import make_client, post, retry_after_s
from prompt_expansion.completion import Complaint, Reply, read_complaint, read_reply
from prompt_expansion.dialect import Dialect
from prompt_expansion.errors import ExpansionError
from prompt_expansion.redaction import for_log
from prompt_expansion.settings import ExpansionSettings
from prompt_expansion.transport import TooLargeError

logger = logging.getLogger("prompt_expansion.server")

_OPENAI: Final = "https://api.openai.com/v1"
_RETRIES: Final = 1
_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 0.5
"""A server that wants a longer one is not asked again; people wait for the answer."""

_MOST_REQUESTS: Final = 8
_PASSING: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses that may be another one a moment later."""


class UnusableError(ExpansionError):
    """The answer cannot be used. The message completes "The expansion server …"."""


@dataclass(frozen=True, slots=True)
class _Way:
    """A way to ask a server: its base URL and its dialect."""

    base_url: str
    dialect: Dialect


class ChatServer:
    """A chat server. It is asked in the ways that it turned out to understand."""

    def __init__(self, settings: ExpansionSettings) -> None:
        self._settings = settings
        base_url = settings.base_url or _OPENAI
        self._base_url = base_url
        # OpenAI's own server refuses for its newer models what most others know this limit by.
        limit_name = "max_completion_tokens" if settings.asks_openai else "max_tokens"
        # What was answered last comes first.
        self._ways = [_Way(url, Dialect(limit_name)) for url in base_urls(base_url)]
        self._client: AsyncOpenAI | None = None
        self._requests: set[asyncio.Future[httpx2.Response]] = set()
        self._closed = False
        if settings.api_key is not None and not may_have_key(base_url):
            logger.warning(
                "prompt expansion: the key is not sent to %s, because http:// would show it",
                without_secrets(base_url),
            )

    @property
    def is_closed(self) -> bool:
        """True if `close` was called."""
        return self._closed

    async def ask(self, prompt: str) -> Reply:
        """Return the model's reply to a request for an expansion of `prompt`.

        Raises:
            UnusableError: If there is none.
        """
        retries = _RETRIES
        ways = list(self._ways)
        complaint = Complaint(0, "")
        for _ in range(_MOST_REQUESTS):
            if self._closed:
                raise UnusableError("is no longer connected")
            try:
                answer = await self._post(prompt, ways[0])
            except APIConnectionError as error:
                if retries == 0:
                    self._log("no connection", error.__cause__ or error)
                    raise UnusableError("could not be reached") from error
                retries -= 1
                await asyncio.sleep(_PAUSE_S)
                continue
            result = self._read(answer)
            if isinstance(result, Reply):
                self._ways = ways
                return result
            complaint = result
            if other_ways := self._other_ways(ways, complaint):
                ways = other_ways
                continue
            wanted_s = retry_after_s(answer.headers)
            pause_s = _PAUSE_S if wanted_s is None else wanted_s
            passing = complaint.status in _PASSING and not complaint.is_about_quota
            if retries == 0 or not passing or pause_s > _LONGEST_PAUSE_S:
                break
            retries -= 1
            await asyncio.sleep(pause_s)
        self._log(f"status {complaint.status}", f"{complaint.codes} {complaint.words}")
        raise UnusableError(_reason(complaint, sent_key=self._sends_key))

    async def close(self) -> None:
        """Close the connections."""
        self._closed = True
        # The client knows nothing of those that are still connecting.
        for request in self._requests:
            request.cancel()
        if self._client is not None:
            await self._client.close()

    @property
    def _sends_key(self) -> bool:
        return self._settings.api_key is not None and may_have_key(self._base_url)

    async def _post(self, prompt: str, way: _Way) -> httpx2.Response:
        """The server's answer, whatever its status.

        Raises:
            APIConnectionError: If the server cannot be reached or breaks off.
            UnusableError: If asking again is of no use.
        """
        settings = self._settings
        try:
            if self._client is None:
                self._client = make_client(self._base_url, settings.key)
        except (OSError, ValueError, ImportError, httpx2.InvalidURL) as error:
            self._log("the environment's proxies or certificates cannot be used", error)
            raise UnusableError("could not be reached") from error
        body = way.dialect.request(prompt, settings.model or "", settings.max_tokens)
        try:
            return await self._until_closed(post(self._client, way.base_url, body))
        except TooLargeError as error:
            self._log("an answer that is too large", "")
            raise UnusableError("sent an answer that is too large") from error
        except (ValueError, httpx2.InvalidURL) as error:
            self._log("the address or the answer cannot be used", error)
            raise UnusableError("could not be reached, or its answer not be read") from error
        except RuntimeError as error:  # what a closed client raises
            if not self._closed:
                raise
            raise UnusableError("is no longer connected") from error

    async def _until_closed(self, request: Coroutine[Any, Any, httpx2.Response]) -> httpx2.Response:
        task = asyncio.create_task(request)
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)
        try:
            return await task
        except asyncio.CancelledError:
            this = asyncio.current_task()
            if self._closed and this is not None and not this.cancelling():
                raise UnusableError("is no longer connected") from None
            raise

    def _read(self, answer: httpx2.Response) -> Reply | Complaint:
        if answer.status_code >= 400:
            return read_complaint(answer.status_code, answer.content)
        if answer.status_code >= 300:
            target = without_secrets(answer.headers.get("Location") or "nowhere")
            self._log(f"status {answer.status_code}", f"set base_url to where it points: {target}")
            raise UnusableError(f"has moved to another address (status {answer.status_code})")
        try:
            return read_reply(answer.content)
        except ValueError as error:
            self._log("not a chat completion", answer.content[:300].decode("utf-8", "replace"))
            raise UnusableError("sent something that is no chat completion") from error

    def _other_ways(self, ways: list[_Way], complaint: Complaint) -> list[_Way]:
        """The ways that are left after a complaint about the first; empty if that is the only."""
        if complaint.status in {401, 402, 403, 429}:
            return []
        about_address = complaint.status in {404, 405} and "model" not in complaint.words.casefold()
        if about_address and len(ways) > 1:
            return ways[1:]
        words = f"{complaint.codes} {complaint.words}"
        dialect = ways[0].dialect.adapted(words, self._settings.max_tokens)
        return [] if dialect is None else [replace(way, dialect=dialect) for way in ways]

    def _log(self, what: str, words: object) -> None:
        settings = self._settings
        secrets = (settings.key or "",)
        logger.warning(
            "prompt expansion: %s from %s: %s",
            what,
            without_secrets(self._base_url),
            for_log(str(words), secrets, (settings.model or "",)) or "no words",
        )


def _reason(complaint: Complaint, *, sent_key: bool) -> str:
    status = complaint.status
    if complaint.is_about_quota:
        return f"has used up its quota (status {status})"
    if status in {401, 403}:
        if not sent_key:
            return f"wants an API key and got none (status {status})"
        return f"refused the API key (status {status})"
    if status == 404:
        return "does not know the address or the model (status 404)"
    if status == 429:
        return "has too many requests at the moment (status 429)"
    return "answered with an error" + (f" (status {status})" if status >= 400 else "")
