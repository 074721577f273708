"""Getting a card to where it is seen, for longer than an interaction lives."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import discord

from bot.cards import Card

logger = logging.getLogger(__name__)

_TOO_LARGE_CODE: Final = 40005
_TOKEN_LIFE: Final = timedelta(minutes=14, seconds=30)
"""Of an interaction's token; Discord says 15 minutes."""
_LOOK_BACK: Final = 200
"""Messages of a channel that are looked through for a clip that may have been sent before."""


class Undeliverable(Exception):  # noqa: N818 - an outcome, not a fault
    """Nothing that could show the card is left: no message, no channel, no direct message."""


class TooLarge(Exception):  # noqa: N818 - an outcome, not a fault
    """Discord refused the attachments for their size."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a card was put."""

    channel_id: int
    message_id: int


class CardMessage:
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
    ) -> None:
        self._client = client
        self._user_id = user_id
        self._channel_id = channel_id
        self._message_id = message_id
        self._nonce = nonce
        self._token = token

    async def show(self, card: Card, *, final: bool = False) -> Place | None:
        """Put the card where it can be seen.

        A card that is not `final` only ever replaces the one before; where that is impossible it
        is dropped and None returned.

        Raises:
            Undeliverable: a final card found no place.
            TooLarge: the attachments are larger than allowed.
            discord.HTTPException, OSError: Discord is out of order; trying again may help.
        """
        place = await self._by_token(card) or await self._by_edit(card)
        if place is None and final:
            place = await self._to_channel(card) or await self._to_user(card)
            if place is None:
                raise Undeliverable(f"user {self._user_id} cannot be reached")
        if place is not None:
            self._channel_id, self._message_id = place.channel_id, place.message_id
        return place

    async def find(self, mark: str, since: datetime) -> Place | None:
        """Where a message of ours shows a button whose id is `mark`: a clip that was sent before.

        Looked at are the message itself and what we sent to the channel and to the user since then,
        as far as that may be read.

        Raises:
            discord.HTTPException, OSError: Discord is out of order.
        """
        if self._message_id is not None:
            try:
                message = await self._message(self._message_id).fetch()
            except (discord.Forbidden, discord.NotFound) as error:
                logger.info("message %s cannot be read: %s", self._message_id, error)
            else:
                # The job's own message will be edited, so nothing was sent anywhere else.
                found = _has_button(message, mark)
                return Place(self._channel_id, message.id) if found else None
        place = await self._find_in(self._channel(), mark, since)
        if place is None and (direct := await self._direct_channel()) is not None:
            place = await self._find_in(direct, mark, since)
        return place

    async def seed_reactions(self, *emoji: str) -> None:
        """Add reactions for others to click; does without them where that is not allowed."""
        if self._message_id is None:
            return
        try:
            for one in emoji:
                await self._message(self._message_id).add_reaction(one)
        except (discord.Forbidden, discord.NotFound) as error:
            logger.info("no reactions on message %s: %s", self._message_id, error)

    async def _by_token(self, card: Card) -> Place | None:
        application_id = self._client.application_id
        if self._token is None or self._message_id is None or application_id is None:
            return None
        if discord.utils.utcnow() - discord.utils.snowflake_time(self._message_id) > _TOKEN_LIFE:
            self._token = None
            return None
        webhook = discord.Webhook.partial(application_id, self._token, client=self._client)
        try:
            message = await webhook.edit_message(self._message_id, **_edit(card))
        except discord.HTTPException as error:
            _raise_for_size(error)
            if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            # Tokens die early at times (10015, 50027); the message may be reached without one.
            logger.info("the token of message %s is of no use: %s", self._message_id, error)
            self._token = None
            return None
        return Place(self._channel_id, message.id)

    async def _by_edit(self, card: Card) -> Place | None:
        if self._message_id is None:
            return None
        try:
            message = await self._message(self._message_id).edit(**_edit(card))
        except (discord.Forbidden, discord.NotFound) as error:
            logger.info("message %s cannot be edited: %s", self._message_id, error)
            return None
        except discord.HTTPException as error:
            _raise_for_size(error)
            raise
        return Place(self._channel_id, message.id)

    async def _to_channel(self, card: Card) -> Place | None:
        extra: dict[str, Any] = {"nonce": self._nonce}
        if self._message_id is not None:
            extra["reference"] = discord.MessageReference(
                message_id=self._message_id, channel_id=self._channel_id, fail_if_not_exists=False
            )
        try:
            message = await self._channel().send(**_send(card), **extra)
        except (discord.Forbidden, discord.NotFound) as error:
            logger.info("channel %s takes no message: %s", self._channel_id, error)
            return None
        except discord.HTTPException as error:
            _raise_for_size(error)
            raise
        return Place(self._channel_id, message.id)

    async def _to_user(self, card: Card) -> Place | None:
        try:
            user = self._client.get_user(self._user_id)
            user = user or await self._client.fetch_user(self._user_id)
            message = await user.send(**_send(card), nonce=self._nonce)
        except (discord.Forbidden, discord.NotFound) as error:
            logger.info("user %s takes no direct message: %s", self._user_id, error)
            return None
        except discord.HTTPException as error:
            _raise_for_size(error)
            raise
        return Place(message.channel.id, message.id)

    async def _find_in(
        self, channel: discord.PartialMessageable | discord.DMChannel, mark: str, since: datetime
    ) -> Place | None:
        try:
            async for message in channel.history(limit=_LOOK_BACK, after=since):
                if self._is_own(message) and _has_button(message, mark):
                    return Place(channel.id, message.id)
        except (discord.Forbidden, discord.NotFound) as error:
            logger.info("channel %s cannot be read: %s", channel.id, error)
        return None

    async def _direct_channel(self) -> discord.DMChannel | None:
        try:
            return await self._client.create_dm(discord.Object(self._user_id))
        except (discord.Forbidden, discord.NotFound):
            return None

    def _is_own(self, message: discord.Message) -> bool:
        own = self._client.user
        return own is not None and message.author.id == own.id

    def _channel(self) -> discord.PartialMessageable:
        return self._client.get_partial_messageable(self._channel_id)

    def _message(self, message_id: int) -> discord.PartialMessage:
        return self._channel().get_partial_message(message_id)


def _edit(card: Card) -> dict[str, Any]:
    fields: dict[str, Any] = {"content": card.content, "embed": card.embed, "view": card.view}
    if card.files is not None:
        fields["attachments"] = [file.open() for file in card.files]
    return fields


def _send(card: Card) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "content": card.content,
        "embed": card.embed,
        "files": [file.open() for file in card.files or ()],
    }
    if card.view is not None:
        fields["view"] = card.view
    return fields


def _has_button(message: discord.Message, mark: str) -> bool:
    return any(
        getattr(button, "custom_id", None) == mark
        for row in message.components
        for button in getattr(row, "children", ())
    )


def _raise_for_size(error: discord.HTTPException) -> None:
    if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or error.code == _TOO_LARGE_CODE:
        raise TooLarge from error
