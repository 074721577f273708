"""Turn cards into the fields of Discord's messages, and recognise them in messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import discord

from bot.messages.cards import Card


@dataclass(frozen=True, slots=True)
class MessageRef:
    """A message of Discord's: its channel and its id."""

    channel_id: int
    message_id: int


def edit_fields(card: Card) -> dict[str, Any]:
    """Return the fields of an edit that shows the card."""
    fields: dict[str, Any] = {"content": card.content, "embed": card.embed, "view": card.view}
    if card.files is not None:
        fields["attachments"] = [file.open() for file in card.files]
    return fields


def send_fields(card: Card) -> dict[str, Any]:
    """Return the fields of a new message that shows the card."""
    fields: dict[str, Any] = {
        "content": card.content,
        "embed": card.embed,
        "files": [file.open() for file in card.files or ()],
    }
    if card.view is not None:
        fields["view"] = card.view
    return fields


def has_button(message: discord.Message, mark: str) -> bool:
    """Return whether the message has a button with this custom id."""
    return any(
        getattr(button, "custom_id", None) == mark
        for row in message.components
        for button in getattr(row, "children", ())
    )


def shows(message: discord.Message, card: Card) -> bool:
    """Return whether the message is this very card: the same buttons, else the same words."""
    marks = (
        []
        if card.view is None
        else [getattr(item, "custom_id", None) for item in card.view.children]
    )
    if marks:
        return all(isinstance(mark, str) and has_button(message, mark) for mark in marks)
    shown = message.embeds[0].description if message.embeds else None
    return (message.content, shown) == (card.content, card.embed.description)
