"""Buttons, forms and options of another version of the bot: whoever uses them is answered."""

from __future__ import annotations

from typing import Any

import pytest

from bot.app import OTHER_BUTTON, OTHER_COMMAND
from tests.bot.wire import ALICE, Wire, wire
from tests.loopback_discord import Message
from tests.loopback_discord.state import Interaction

__all__ = ["wire"]


def clip(wire: Wire) -> Message:
    asked = wire.imagine()
    wire.until(lambda: wire.states() == ["delivered"])
    return wire.discord.state.messages[asked.message_id or 0]


def click(wire: Wire, custom_id: str, message: Message) -> Interaction:
    """Click a button of the message, which gets one with this id."""
    button = {"type": 2, "style": 2, "label": "old", "custom_id": custom_id}
    message.components = [{"type": 1, "components": [button]}]
    data = {"component_type": 2, "custom_id": custom_id}
    made, _ = wire.interaction(3, data, user=ALICE, message_id=message.id)
    return made


def command(wire: Wire, name: str, options: list[dict[str, Any]]) -> Interaction:
    made, _ = wire.interaction(2, {"id": "7099", "name": name, "type": 1, "options": options})
    return made


def told(wire: Wire, asked: Interaction) -> str:
    wire.until(lambda: wire.heard(asked), 20)
    return wire.heard(asked)[-1]


def test_buttons_and_forms(wire: Wire) -> None:
    """They are on messages for ever; without an answer nobody knows why nothing happens."""
    wire.start()
    message = clip(wire)
    unknown = ["floor33:upscale:" + "0" * 32, "floor33:cancel:12", "x", "floor33"]
    unknown += ["floor33:reroll:" + "0" * 31 + "G", "floor33:reroll:" + "0" * 32 + ":v2"]
    for custom_id in unknown:
        assert told(wire, click(wire, custom_id, message)) == OTHER_BUTTON
    form, _ = wire.interaction(5, {"custom_id": "floor33:edit:1", "components": []})
    assert told(wire, form) == OTHER_BUTTON
    menu = {"component_type": 3, "custom_id": "floor33:size", "values": ["512x320"]}
    select, _ = wire.interaction(3, menu, message_id=message.id)
    assert told(wire, select) == OTHER_BUTTON
    assert "not known" in told(wire, click(wire, "floor33:delete:" + "0" * 32, message))
    assert not wire.errors()
    assert wire.states() == ["delivered"]


PROMPT = {"name": "prompt", "type": 3, "value": "a cat"}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("upscale", []),
        ("imagine", [PROMPT | {"type": 4, "value": 12}]),
        ("imagine", [PROMPT, {"name": "format", "type": 3, "value": "avi"}]),
        ("imagine", [PROMPT, {"name": "steps", "type": 3, "value": "many"}]),
        ("imagine", []),
        ("admin", [{"name": "reload", "type": 1, "options": []}]),
    ],
)
def test_commands_and_options(wire: Wire, name: str, options: list[dict[str, Any]]) -> None:
    """Discord's list is older or newer than the bot."""
    wire.start()
    asked = command(wire, name, options)
    assert told(wire, asked) == OTHER_COMMAND
    assert not wire.errors()
    assert wire.states() == []


def test_options_that_are_no_more_are_left_out(wire: Wire) -> None:
    wire.start()
    command(wire, "imagine", [PROMPT, {"name": "quality", "type": 3, "value": "best"}])
    wire.until(lambda: wire.states() == ["delivered"])
