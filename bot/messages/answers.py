"""Interpret what comes back from Discord's HTTP API.

Discord's own word is JSON with a code. Anything else, a page of a proxy, a cut or empty body, a
connection that ends, no answer in time, says nothing about what was asked for: it may be tried
again. Every request for a message goes through `call`, so that this is decided in one place.
https://discord.com/developers/docs/topics/opcodes-and-status-codes#json
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Final, TypeVar

import aiohttp
import discord

from bot.errors import BotError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

OLD_EDITS_EXCEEDED: Final = 30046
"""Discord's code for too many edits of a message that is older than an hour."""
_UNKNOWN_CHANNEL, _UNKNOWN_MESSAGE = 10003, 10008
_TOO_LARGE: Final = 40005
_ALREADY_ACKNOWLEDGED: Final = 40060
_TOKEN_EXPIRED: Final = frozenset({10015, 50027})
_BLOCKED_CONTENT: Final = frozenset({20009, 200_000, 200_001})
"""Explicit content, and what a server's AutoMod keeps out: asking again changes nothing."""

# The library reads answers without checking them: one of another shape raises any of these.
_UNREADABLE: Final = (
    aiohttp.ClientError,
    discord.DiscordException,
    AttributeError,
    LookupError,
    OSError,
    TypeError,
    ValueError,
)
_GLOBAL_LIMIT_S: Final = 60.0


class DiscordUnavailableError(BotError):
    """Discord gave no usable answer; whether the request took effect is not known.

    Attributes:
        retry_after_s: seconds that Discord wants the next try to wait, if it said so.
        unauthorized: the bot's own token was refused.
    """

    def __init__(
        self, message: str, *, retry_after_s: float = 0.0, unauthorized: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.unauthorized = unauthorized


class DiscordRefusedError(BotError):
    """Discord understood the request and refused it; the same one will be refused again.

    Attributes:
        status: the HTTP status.
        code: Discord's own code, 0 for none.
    """

    def __init__(self, message: str, *, status: int, code: int) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def message_gone(self) -> bool:
        """The message does not exist any more."""
        return self.code == _UNKNOWN_MESSAGE

    @property
    def channel_gone(self) -> bool:
        """The channel does not exist any more, and no message of it."""
        return self.code == _UNKNOWN_CHANNEL

    @property
    def token_expired(self) -> bool:
        """The interaction's token is of no use any more."""
        return self.code in _TOKEN_EXPIRED

    @property
    def already_acknowledged(self) -> bool:
        """The interaction has been answered before."""
        return self.code == _ALREADY_ACKNOWLEDGED

    @property
    def closed(self) -> bool:
        """The bot may not do this there, or there is no such place."""
        return self.status in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND) and not self.blocked

    @property
    def blocked(self) -> bool:
        """The content itself is not wanted: it will not be taken later either."""
        return self.code in _BLOCKED_CONTENT


class UploadTooLargeError(DiscordRefusedError):
    """The attachments are larger than Discord takes there."""


class UndeliverableError(BotError):
    """Nothing that could show the card is left: no message, no channel, no direct message.

    Attributes:
        blocked: Discord does not want the content itself, so it will not be taken later either.
    """

    def __init__(self, message: str, *, blocked: bool = False) -> None:
        super().__init__(message)
        self.blocked = blocked


async def call(
    client: discord.Client, request: Callable[[], Awaitable[Result]], *, timeout_s: float
) -> Result:
    """Make one request and return its answer.

    Args:
        client: the bot; its event `token_refused` is dispatched when Discord refuses its token.
        request: calls discord.py once.
        timeout_s: seconds until it is given up, waiting for rate limits included.

    Raises:
        DiscordRefusedError, UploadTooLargeError: Discord said no.
        DiscordUnavailableError: it did not say anything that counts.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await request()
    except asyncio.CancelledError:
        _release_global_limit(client)
        raise
    except TimeoutError as error:
        _release_global_limit(client)
        raise DiscordUnavailableError(f"no answer within {timeout_s:g} s") from error
    except discord.RateLimited as error:
        raise DiscordUnavailableError(
            f"rate limited for {error.retry_after:g} s", retry_after_s=error.retry_after
        ) from error
    except discord.HTTPException as error:
        judged = judge(error)
        if isinstance(judged, DiscordUnavailableError) and judged.unauthorized:
            client.dispatch("token_refused")
        raise judged from error
    except (aiohttp.ClientError, OSError) as error:
        raise DiscordUnavailableError(
            f"no connection ({str(error) or type(error).__name__})"
        ) from error
    except _UNREADABLE as error:
        raise DiscordUnavailableError(
            f"an answer that cannot be read ({type(error).__name__})"
        ) from error


async def call_again(
    client: discord.Client,
    request: Callable[[], Awaitable[Result]],
    *,
    timeout_s: float,
    pauses_s: Iterable[float] = (0.0, 1.0),
) -> Result:
    """Make a request as `call` does, and again after each pause while there is no usable answer.

    Only for requests that may take effect twice.

    Raises:
        DiscordRefusedError, DiscordUnavailableError: as `call`, of the last try.
    """
    for pause_s in pauses_s:
        try:
            return await call(client, request, timeout_s=timeout_s)
        except DiscordUnavailableError as error:
            logger.info("asking again in %g s: %s", pause_s, error)
        await asyncio.sleep(pause_s)
    return await call(client, request, timeout_s=timeout_s)


def judge(error: discord.HTTPException) -> DiscordRefusedError | DiscordUnavailableError:
    """Return what an answer with an error status means."""
    if its_word := _is_discords_word(error):
        words = f"{error.text or 'no reason given'} (status {error.status}, code {error.code})"
    else:
        words = f"status {error.status} without Discord's word"
    if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or error.code == _TOO_LARGE:
        # Whoever says it: what stands before Discord has limits, too, and they do not change.
        return UploadTooLargeError(words, status=error.status, code=error.code)
    if not its_word:
        return DiscordUnavailableError(words, retry_after_s=_retry_after_s(error))
    if error.code == OLD_EDITS_EXCEEDED:
        # Sent as a rate limit, but it holds for this message only: a new one may be sent.
        return DiscordRefusedError(words, status=error.status, code=error.code)
    if error.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT) or (
        error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    ):
        return DiscordUnavailableError(words, retry_after_s=_retry_after_s(error))
    if error.status == HTTPStatus.UNAUTHORIZED and error.code not in _TOKEN_EXPIRED:
        return DiscordUnavailableError(words, unauthorized=True)
    return DiscordRefusedError(words, status=error.status, code=error.code)


def undeliverable(refusals: Sequence[DiscordRefusedError]) -> UndeliverableError:
    """Return why a card found no place, by the refusals of all places."""
    if all(error.closed for error in refusals):
        return UndeliverableError("Message, channel and direct messages are closed to the bot.")
    # A closed direct message says less than why the channel did not take it.
    first = next(error for error in refusals if not error.closed)
    return UndeliverableError(
        f"Discord refused it: {first}", blocked=any(error.blocked for error in refusals)
    )


def _is_discords_word(error: discord.HTTPException) -> bool:
    """Return whether the body was an error object of Discord's."""
    if error.code:
        return True
    kind = error.response.headers.get("Content-Type", "application/json")
    return bool(error.text) and kind.startswith("application/json")


def _retry_after_s(error: discord.HTTPException) -> float:
    try:
        return max(0.0, float(error.response.headers.get("Retry-After", 0)))
    except ValueError:  # it may be a date
        return 0.0


def _release_global_limit(client: discord.Client) -> None:
    """Have a global rate limit end though the request that met it was given up.

    discord.py holds every request until the one that met the limit has slept; cancelled in its
    sleep, it would hold them forever.
    """
    over = getattr(client.http, "_global_over", None)
    if isinstance(over, asyncio.Event) and not over.is_set():
        asyncio.get_running_loop().call_later(_GLOBAL_LIMIT_S, over.set)
