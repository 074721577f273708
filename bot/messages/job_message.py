"""Show a job in one message, for longer than an interaction lives."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final, cast

import discord

from bot.messages.answers import (
    DiscordRefusedError,
    DiscordUnavailableError,
    UploadTooLargeError,
    call,
    undeliverable,
)
from bot.messages.card_fields import MessageRef, edit_fields, has_button, send_fields, shows
from bot.messages.cards import Card

logger = logging.getLogger(__name__)

_TOKEN_LIFE: Final = timedelta(minutes=14, seconds=30)
"""Of an interaction's token; Discord says 15 minutes."""
_LOOK_BACK: Final = 400
"""Messages of a channel that are looked through for a clip that may have been sent before."""
_DELETION_LAG_S: Final = 1.0
"""Seconds that the event of a deletion may come after the first refused edit."""
_ORIGINAL: Final = "@original"
_EDIT_S: Final = 10.0
_FINAL_S: Final = 30.0
_BYTES_PER_S: Final = 64_000
"""The slowest upload that is waited for."""


class JobMessage:
    """One message that a job lives in.

    The interaction's token reaches the message in channels that the bot itself cannot see, but
    only for 15 minutes; after that the bot edits it as its author, and if that fails too a final
    card is sent anew: to the channel, else to the user.

    Args:
        client: the bot.
        user_id: who is written to if all else fails.
        channel_id: where the message is or would be.
        message_id: the message, where it is known.
        token: of the interaction that the message answers, while it may still be of use.
        nonce: up to 25 characters. Discord makes one message of two that are sent with the same
            one within minutes, as they are when the process is killed after the first.
        clock_skew: this machine's time less Discord's, which its ids tell.
    """

    def __init__(
        self,
        client: discord.Client,
        *,
        user_id: int,
        channel_id: int,
        nonce: str,
        message_id: int | None = None,
        token: str | None = None,
        clock_skew: timedelta = timedelta(0),
    ) -> None:
        self._client = client
        self._user_id = user_id
        self._channel_id = channel_id
        self._message_id = message_id
        # Whatever was sent for the job is newer than this; both are Discord's ids.
        self._first_id = message_id
        self._nonce = nonce
        self._token = token
        self._clock_skew = clock_skew
        self._born = time.perf_counter()
        # A new message was asked for, and no answer came.
        self._unsure = False

    async def show(self, card: Card, *, final: bool = False) -> MessageRef | None:
        """Put the card where it can be seen.

        A card that is not `final` only ever replaces the one before; where that is impossible it
        is dropped and None returned.

        Raises:
            UndeliverableError: a final card found no place.
            UploadTooLargeError: the attachments are larger than allowed.
            DiscordUnavailableError: trying again may help.
            OSError: an attachment's file cannot be read.
        """
        timeout_s = _EDIT_S if not final else _FINAL_S + card.size_bytes / _BYTES_PER_S
        refusals: list[DiscordRefusedError] = []
        ways: list[Callable[[Card, float], Awaitable[MessageRef | None]]] = [self._by_token]
        ways.append(self._by_edit)
        if final:
            ways += [self._sent_before, self._to_channel, self._to_user]
        for way in ways:
            try:
                place = await way(card, timeout_s)
            except UploadTooLargeError:
                raise
            except DiscordRefusedError as error:
                logger.info("message %s: %s: %s", self._message_id, way.__name__, error)
                refusals.append(error)
                continue
            if place is not None:
                self._channel_id, self._message_id = place.channel_id, place.message_id
                return place
        if final:
            raise undeliverable(refusals)
        return None

    async def find(self, mark: str) -> MessageRef | None:
        """Return where a message of ours shows a button whose id is `mark`, or None.

        Looked at are the message itself and what the bot sent to the channel and to the user since
        then, as far as that may be read.

        Raises:
            DiscordUnavailableError: nobody knows.
        """
        if self._message_id is not None:
            try:
                message = await self._call(self._message(self._message_id).fetch)
            except DiscordRefusedError as error:
                logger.info("message %s cannot be read: %s", self._message_id, error)
            else:
                if has_button(message, mark):
                    return MessageRef(self._channel_id, message.id)
        # What can be read could not always be edited: the clip may have gone elsewhere.
        return await self._find_sent(lambda message: has_button(message, mark))

    async def content(self) -> str | None:
        """Return the text of the job's message, or None where it is not known.

        Raises:
            DiscordUnavailableError: nobody knows.
        """
        if self._message_id is None:
            return None
        try:
            message: discord.Message = await self._call(self._message(self._message_id).fetch)
        except DiscordRefusedError:
            return None
        return message.content

    async def react(self, emoji: str) -> None:
        """Add a reaction for others to click.

        Raises:
            DiscordRefusedError: it is not allowed there.
            DiscordUnavailableError: trying again may help.
        """
        if (message_id := self._message_id) is not None:
            await self._call(lambda: self._message(message_id).add_reaction(emoji))

    async def _call(
        self, request: Callable[[], Awaitable[Any]], timeout_s: float = _FINAL_S
    ) -> Any:
        return await call(self._client, request, timeout_s=timeout_s)

    # ------------------------------------------------------------------- ways to show a card

    async def _by_token(self, card: Card, timeout_s: float) -> MessageRef | None:
        application_id = self._client.application_id
        if self._token is None or application_id is None:
            return None
        if self._token_age() > _TOKEN_LIFE:
            self._token = None
            return None
        # Where Discord never told the message's id, the token alone knows it.
        message_id = cast("int", _ORIGINAL) if self._message_id is None else self._message_id
        webhook = discord.Webhook.partial(application_id, self._token, client=self._client)
        fields = edit_fields(card)
        try:
            message: discord.WebhookMessage = await self._call(
                lambda: webhook.edit_message(message_id, **fields), timeout_s
            )
        except DiscordRefusedError as error:
            if error.token_expired:  # tokens die early at times
                self._token = None
            raise
        return MessageRef(self._channel_id, message.id)

    async def _by_edit(self, card: Card, timeout_s: float) -> MessageRef | None:
        if (message_id := self._message_id) is None:
            return None
        fields = edit_fields(card)
        try:
            await self._call(lambda: self._message(message_id).edit(**fields), timeout_s)
        except DiscordRefusedError as error:
            if error.message_gone:
                # Who deleted it wants it gone: nothing may be sent anew before that is known.
                await asyncio.sleep(_DELETION_LAG_S)
            raise
        return MessageRef(self._channel_id, message_id)

    async def _sent_before(self, card: Card, _timeout_s: float) -> MessageRef | None:
        """Return the message that a lost answer was about, so that it is not sent twice."""
        if not self._unsure:
            return None
        place = await self._find_sent(lambda message: shows(message, card))
        self._unsure = False
        return place

    async def _to_channel(self, card: Card, timeout_s: float) -> MessageRef | None:
        extra: dict[str, Any] = {"nonce": self._nonce}
        if self._message_id is not None:
            extra["reference"] = discord.MessageReference(
                message_id=self._message_id, channel_id=self._channel_id, fail_if_not_exists=False
            )
        fields = send_fields(card)
        return await self._send(lambda: self._channel().send(**fields, **extra), timeout_s)

    async def _to_user(self, card: Card, timeout_s: float) -> MessageRef | None:
        user = self._client.get_user(self._user_id)
        if user is None:
            user = await self._call(lambda: self._client.fetch_user(self._user_id))
        fields, to = send_fields(card), user
        return await self._send(lambda: to.send(**fields, nonce=self._nonce), timeout_s)

    async def _send(
        self, send: Callable[[], Awaitable[discord.Message]], timeout_s: float
    ) -> MessageRef | None:
        try:
            message = await self._call(send, timeout_s)
        except DiscordUnavailableError:
            self._unsure = True
            raise
        return MessageRef(message.channel.id, message.id)

    # ---------------------------------------------------------------------------- looking

    async def _find_sent(self, matches: Callable[[discord.Message], bool]) -> MessageRef | None:
        place = await self._find_in(self._channel(), matches)
        if place is None and (direct := await self._direct_channel()) is not None:
            place = await self._find_in(direct, matches)
        return place

    async def _find_in(
        self,
        channel: discord.PartialMessageable | discord.DMChannel,
        matches: Callable[[discord.Message], bool],
    ) -> MessageRef | None:
        # Discord's own ids say what came later: the two clocks may differ.
        after = None if self._first_id is None else discord.Object(self._first_id)

        async def look() -> MessageRef | None:
            async for message in channel.history(limit=_LOOK_BACK, after=after, oldest_first=False):
                if self._is_own(message) and matches(message):
                    return MessageRef(channel.id, message.id)
            return None

        try:
            found: MessageRef | None = await self._call(look)
        except DiscordRefusedError as error:
            logger.info("channel %s cannot be read: %s", channel.id, error)
            return None
        return found

    async def _direct_channel(self) -> discord.DMChannel | None:
        try:
            channel: discord.DMChannel = await self._call(
                lambda: self._client.create_dm(discord.Object(self._user_id))
            )
        except DiscordRefusedError:
            return None
        return channel

    def _token_age(self) -> timedelta:
        """Return the larger of what the id and this process know; clocks may be wrong or change."""
        here = timedelta(seconds=time.perf_counter() - self._born)
        if self._first_id is None:
            return here
        sent = discord.utils.snowflake_time(self._first_id)
        return max(here, discord.utils.utcnow() - self._clock_skew - sent)

    def _is_own(self, message: discord.Message) -> bool:
        own = self._client.user
        return own is not None and message.author.id == own.id

    def _channel(self) -> discord.PartialMessageable:
        return self._client.get_partial_messageable(self._channel_id)

    def _message(self, message_id: int) -> discord.PartialMessage:
        return self._channel().get_partial_message(message_id)
