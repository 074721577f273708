"""Observe the bot's requests to Discord: failed acknowledgements, and Discord's clock."""

from __future__ import annotations

import json
import logging
import re
from collections import deque
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import SimpleNamespace
from typing import Final

import aiohttp

from bot.messages.answers import OLD_EDITS_EXCEEDED, DiscordRefusedError

logger = logging.getLogger(__name__)

_CALLBACK: Final = re.compile(r"/interactions/(\d+)/[^/]+/callback$")
_REMEMBERED: Final = 1000
_SKEW_WORTH_A_WARNING: Final = timedelta(minutes=2)


class HttpTrace:
    """Sees every try, also those that discord.py repeats by itself.

    discord.py asks again after an answer of 500 and above. When the first try took effect, the
    second is refused as already acknowledged, which would otherwise look as if somebody else had
    answered.

    Attributes:
        clock_skew: this machine's time less Discord's, as the last answer told it.
    """

    def __init__(self) -> None:
        self.clock_skew = timedelta(0)
        self._failed: deque[int] = deque(maxlen=_REMEMBERED)
        self._warned = False

    def config(self) -> aiohttp.TraceConfig:
        """Return what `discord.Client` takes as `http_trace`."""
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._ended)
        trace.on_request_exception.append(self._broke)
        trace.on_response_chunk_received.append(_raise_if_old_message)
        return trace

    def tried_before(self, interaction_id: int) -> bool:
        """Return whether a try to answer this interaction failed without Discord's word."""
        return interaction_id in self._failed

    async def _ended(
        self,
        _session: aiohttp.ClientSession,
        context: SimpleNamespace,
        done: aiohttp.TraceRequestEndParams,
    ) -> None:
        status = context.status = done.response.status
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            self._note(done.url.path)
        elif (date := done.response.headers.get("Date")) is not None:
            self._compare(date)

    async def _broke(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        done: aiohttp.TraceRequestExceptionParams,
    ) -> None:
        self._note(done.url.path)

    def _note(self, path: str) -> None:
        if found := _CALLBACK.search(path):
            self._failed.append(int(found[1]))

    def _compare(self, date: str) -> None:
        try:
            theirs = parsedate_to_datetime(date)
        except ValueError:
            return
        self.clock_skew = datetime.now(UTC) - theirs.replace(tzinfo=theirs.tzinfo or UTC)
        if abs(self.clock_skew) > _SKEW_WORTH_A_WARNING and not self._warned:
            self._warned = True
            logger.warning(
                "this machine's clock is %.0f minutes off Discord's; set it",
                abs(self.clock_skew).total_seconds() / 60,
            )


async def _raise_if_old_message(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    received: aiohttp.TraceResponseChunkReceivedParams,
) -> None:
    """Raise DiscordRefusedError if a message is too old for one more edit.

    Discord says so with the status of a rate limit, which discord.py would wait for. It holds for
    this message only, and for long: a new one may be sent at once.
    """
    if getattr(context, "status", None) != HTTPStatus.TOO_MANY_REQUESTS:
        return
    try:
        body = json.loads(received.chunk)
    except ValueError:
        return
    if isinstance(body, dict) and body.get("code") == OLD_EDITS_EXCEEDED:
        raise DiscordRefusedError(
            f"{body.get('message')} (status 429, code {OLD_EDITS_EXCEEDED})",
            status=HTTPStatus.TOO_MANY_REQUESTS,
            code=OLD_EDITS_EXCEEDED,
        )
