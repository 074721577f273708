"""One event that cannot be read is one event lost, never the bot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bot.lifecycle.events import UNREADABLE
from tests.bot.wire import ALICE, Wire, wire, wired

__all__ = ["wire"]

COMMAND, CLICK, AUTOCOMPLETE, FORM = 2, 3, 4, 5
IMAGINE: dict[str, Any] = {
    "id": "7001",
    "name": "imagine",
    "type": 1,
    "options": [
        {"name": "prompt", "type": 3, "value": "a cat"},
        {"name": "steps", "type": 4, "value": 2},
    ],
}
THUMB: dict[str, Any] = {
    "user_id": "5001",
    "message_id": "1",
    "channel_id": "3001",
    "guild_id": "2001",
    "emoji": {"id": None, "name": "👍"},
    "type": 0,
}

UNREADABLE_EVENTS: list[tuple[str, Any]] = [
    ("MESSAGE_REACTION_ADD", {key: THUMB[key] for key in THUMB if key != "emoji"}),
    ("MESSAGE_REACTION_ADD", {key: THUMB[key] for key in THUMB if key != "channel_id"}),
    ("MESSAGE_REACTION_REMOVE", {key: THUMB[key] for key in THUMB if key != "message_id"}),
    ("MESSAGE_REACTION_REMOVE_ALL", {}),
    ("MESSAGE_REACTION_REMOVE_EMOJI", {"message_id": "1", "channel_id": "3001"}),
    ("MESSAGE_DELETE", {"channel_id": "3001"}),
    ("MESSAGE_DELETE", None),
    ("MESSAGE_CREATE", {"id": "1"}),
    ("MESSAGE_UPDATE", {"channel_id": "3001"}),
    ("THREAD_CREATE", {"id": "77", "guild_id": "2001", "type": 11}),
    ("CHANNEL_CREATE", {"id": "77"}),
    ("GUILD_CREATE", {"name": "no id"}),
    ("GUILD_UPDATE", {}),
    ("GUILD_ROLE_CREATE", {"guild_id": "2001"}),
    ("GUILD_MEMBER_UPDATE", {"guild_id": "2001"}),
    ("INTEGRATION_CREATE", {"id": "1", "guild_id": "2001"}),
    ("ENTITLEMENT_CREATE", {"id": "1"}),
    ("TYPING_START", {}),
    ("PRESENCE_UPDATE", []),
    ("USER_UPDATE", {}),
    ("APPLICATION_COMMAND_PERMISSIONS_UPDATE", {}),
    ("INTERACTION_CREATE", None),
    ("INTERACTION_CREATE", {}),
    ("INTERACTION_CREATE", "text"),
]
CARRIED_OUT: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({}, ("attachment_size_limit",)),
    ({"attachment_size_limit": None}, ()),
    ({"attachment_size_limit": "unlimited"}, ()),
    ({"entitlements": [{"id": "1", "type": 8}]}, ()),
    ({"entitlements": None, "entitlement_skus": None}, ()),
    ({"channel": None}, ()),
    ({}, ("channel", "context", "locale", "guild_locale", "version", "app_permissions")),
    ({"context": None, "locale": None, "guild_locale": 7}, ()),
    ({"authorizing_integration_owners": {"0": None, "1": "x"}}, ()),
    ({"authorizing_integration_owners": None}, ("application_id",)),
    ({"something": {"quite": "new"}}, ()),
]
ANSWERED: list[tuple[int, Any, dict[str, Any], tuple[str, ...]]] = [
    (COMMAND, IMAGINE, {"member": None}, ()),
    (COMMAND, IMAGINE, {}, ("member",)),
    (COMMAND, IMAGINE, {"member": {"roles": []}}, ()),
    (COMMAND, None, {}, ()),
    (COMMAND, {"id": "7001", "type": 1}, {}, ()),
    (COMMAND, IMAGINE | {"options": [{"value": "a cat"}]}, {}, ()),
    (COMMAND, IMAGINE | {"options": "a cat"}, {}, ()),
    (CLICK, None, {}, ()),
    (CLICK, {"component_type": 2, "custom_id": None}, {}, ()),
    (CLICK, {"component_type": 2}, {}, ()),
    (FORM, {"custom_id": "unasked"}, {}, ()),
    (FORM, None, {}, ()),
]


def skipped(wire: Wire) -> list[str]:
    return [line for line in wire.said().splitlines() if "it cannot be read" in line]


def test_events_that_cannot_be_read_cost_one_line_each(wire: Wire) -> None:
    wire.start()
    for name, data in UNREADABLE_EVENTS:
        wire.event(name, data)
    wire.until(lambda: len(skipped(wire)) == len(UNREADABLE_EVENTS))
    assert wire.bots.alive
    assert wire.answers()
    lines = skipped(wire)
    for line, (name, data) in zip(lines, UNREADABLE_EVENTS, strict=True):
        assert name in line
        for key, value in data.items() if isinstance(data, dict) else ():
            assert key in line
            assert not isinstance(value, str) or value.isdecimal() or value not in line
    assert "Traceback" not in wire.said()
    assert wire.gateway.heard.count(2) == 1  # it is still the first connection


def test_packets_that_cannot_be_read(wire: Wire) -> None:
    wire.start()
    packets: list[Any] = [
        [],
        None,
        "text",
        7,
        {},
        {"op": 0},
        {"op": 0, "t": "MESSAGE_CREATE"},
        {"op": 0, "t": ["a", "list"], "d": {}},
        {"op": 99, "d": None},
        {"op": "zero", "t": "MESSAGE_CREATE", "d": {}},
        {"op": 0, "t": "A_NEW_EVENT", "s": 50, "d": {"id": "1"}},
        {"op": 11},
    ]
    for packet in packets:
        wire.packet(packet)
    assert wire.answers()
    assert wire.bots.alive
    assert "Traceback" not in wire.said()
    assert wire.gateway.heard.count(2) == 1


def test_what_the_bot_does_not_need_may_be_missing(
    tmp_path: Path, overrides: dict[str, Any]
) -> None:
    with wired(tmp_path, overrides, "[limits]\nmax_active_jobs_per_user = 100\n") as patient:
        patient.start()
        made = [
            patient.interaction(COMMAND, IMAGINE, drop=drop, **change)[0]
            for change, drop in CARRIED_OUT
        ]
        patient.until(lambda: patient.states().count("delivered") == len(CARRIED_OUT))
        rows = patient.query("select upload_limit from jobs order by rowid limit 3")
        assert {row["upload_limit"] for row in rows} == {10 * 2**20}
        assert all(interaction.acknowledged_at is not None for interaction in made)
        assert not patient.errors()


def test_an_interaction_that_cannot_be_read_is_answered(wire: Wire) -> None:
    wire.start()
    for kind, data, change, drop in ANSWERED:
        made, _ = wire.interaction(kind, data, drop=drop, **change)
        assert wire.wait(lambda made=made: wire.heard(made), 8), (kind, data, change, drop)
        assert wire.heard(made) == [UNREADABLE]
    assert wire.bots.alive
    assert not wire.errors()
    assert wire.states() == []


def test_a_list_of_choices_that_cannot_be_read_is_empty(wire: Wire) -> None:
    wire.start()
    made, _ = wire.interaction(AUTOCOMPLETE, None)
    wire.until(lambda: made.acknowledged_at is not None)
    (call,) = (call for call in wire.discord.state.calls if made.token in call.path)
    assert call.payload == {"type": 8, "data": {"choices": []}}


def test_a_thumb_whose_event_lacks_keys_counts(wire: Wire) -> None:
    wire.start()
    asked = wire.imagine()
    wire.until(lambda: wire.states() == ["delivered"])
    message = wire.discord.state.messages[asked.message_id or 0]
    wire.until(lambda: len(message.reactions) == 2)
    shortened = {key: THUMB[key] for key in THUMB if key != "type"}
    wire.event("MESSAGE_REACTION_ADD", shortened | {"message_id": str(message.id), "member": {}})
    wire.until(lambda: wire.query("select value from ratings") == [{"value": 1}])
    wire.event("MESSAGE_DELETE", {"id": str(message.id)})
    wire.until(lambda: wire.query("select id from generations where deleted_at is not null"))


def test_a_running_job_outlives_an_event_that_cannot_be_read(wire: Wire) -> None:
    wire.start()
    wire.imagine(ALICE, steps=60)
    wire.until(lambda: wire.states() == ["running"])
    wire.event("TYPING_START", {})
    wire.until(lambda: wire.states() == ["delivered"])


def test_an_id_that_no_column_holds_is_ignored(wire: Wire) -> None:
    wire.start()
    for event in ("MESSAGE_REACTION_ADD", "MESSAGE_REACTION_REMOVE"):
        for key in ("message_id", "user_id"):
            wire.event(event, THUMB | {key: str(2**63)})
    wire.event("MESSAGE_DELETE", {"id": str(2**64), "channel_id": "3001"})
    wire.event("MESSAGE_DELETE_BULK", {"ids": [str(2**63)], "channel_id": "3001"})
    wire.event("MESSAGE_REACTION_REMOVE_ALL", {"message_id": str(2**70), "channel_id": "3001"})
    assert wire.answers()
    assert not wire.errors()
