"""What happened in Discord while nobody listened is made up for once the bot listens again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.bot.wire import ALICE, BOB, Wire, wire
from tests.loopback_discord import Call, Message
from tests.loopback_discord.answers import Reset, error, html, raw

__all__ = ["wire"]

CAROL = 5_003


def clip(wire: Wire, **options: Any) -> Message:
    """Have a clip made; its message, with both thumbs."""
    count = len(wire.states())
    asked = wire.imagine(**options)
    wire.until(lambda: wire.states() == ["delivered"] * (count + 1))
    message = wire.discord.state.messages[asked.message_id or 0]
    wire.until(lambda: len(message.reactions) == 2)
    return message


def ratings(wire: Wire) -> dict[int, int]:
    return {row["user_id"]: row["value"] for row in wire.query("select * from ratings")}


def looks(wire: Wire, message: Message, since: int = 0) -> int:
    """How often the bot has asked for the message."""
    path = f"/messages/{message.id}"
    calls = wire.discord.state.calls[since:]
    return sum(call.method == "GET" and call.path.endswith(path) for call in calls)


def test_thumbs_given_and_taken_back_while_the_bot_was_down(wire: Wire) -> None:
    wire.start()
    message = clip(wire)
    for user, name in ((ALICE, "👍"), (BOB, "👍"), (CAROL, "👎")):
        message.reactions[name].add(user)
        event = {"user_id": str(user), "message_id": str(message.id), "type": 0}
        event |= {"channel_id": str(message.channel_id), "guild_id": "2001"}
        event |= {"member": wire.discord.state.member(user), "emoji": {"id": None, "name": name}}
        wire.event("MESSAGE_REACTION_ADD", event)
    wire.until(lambda: ratings(wire) == {ALICE: 1, BOB: 1, CAROL: -1})
    wire.bots.kill()
    message.reactions["👍"].discard(ALICE)  # taken back
    message.reactions["👍"].discard(BOB)  # changed, and in another tone
    message.reactions["👎🏿"] = {BOB}
    message.reactions["👍"].add(CAROL)  # both: the one that is known stays
    message.super_reactions["👍"] = {5_004}
    message.super_reactions["🎉"] = {5_005}
    wire.start()
    wire.until(lambda: ratings(wire) == {BOB: -1, CAROL: -1, 5_004: 1})
    names = {row["id"]: row["name"] for row in wire.query("select id, name from users")}
    assert names[5_004] == "user5004"
    assert wire.query("select self_vote from ratings where self_vote") == []


def test_clips_whose_messages_were_deleted_while_the_bot_was_down(wire: Wire) -> None:
    wire.start()
    kept, gone = clip(wire), clip(wire, seed=2)
    wire.bots.kill()
    del wire.discord.state.messages[gone.id]
    wire.start()
    wire.until(lambda: wire.query("select id from generations where deleted_at is not null"))
    wire.until(lambda: len(list(wire.data.rglob("outputs/**/*.mp4"))) == 1)
    (left,) = wire.query(
        "select message_id from jobs join generations g on g.job_id = jobs.id"
        " where deleted_at is null"
    )
    assert left == {"message_id": kept.id}


def test_a_job_whose_message_was_deleted_while_the_bot_was_down(wire: Wire) -> None:
    wire.start()
    asked = wire.imagine(steps=60)
    wire.until(lambda: wire.states() == ["running"])
    message = wire.discord.state.messages[asked.message_id or 0]
    wire.bots.kill()
    del wire.discord.state.messages[message.id]
    before = len(wire.discord.state.calls)
    wire.start()
    wire.until(lambda: wire.states() == ["cancelled"])
    assert wire.answers()
    uploads = [call.files for call in wire.discord.state.calls[before:] if call.files]
    assert uploads == []


@pytest.mark.parametrize(
    "answer",
    [
        lambda: html(404),
        lambda: html(403),
        lambda: error(404, 10003),
        lambda: error(403, 50001),
        lambda: error(404),
        lambda: raw(200, b"null"),
        lambda: raw(200, b"{}"),
        lambda: html(200),
        Reset,
    ],
    ids=["page 404", "page 403", "channel", "access", "no code", "null", "{}", "page", "cut"],
)
def test_what_does_not_say_that_a_message_is_gone_concludes_nothing(
    wire: Wire, answer: Callable[[], Exception]
) -> None:
    wire.start()
    message = clip(wire)
    message.reactions["👍"].add(BOB)
    wire.bots.kill()
    before = len(wire.discord.state.calls)

    async def refuse(call: Call, done: bool) -> int | None:
        if call.method == "GET" and "/messages/" in call.path and not done:
            raise answer()
        return None

    wire.discord.hook(refuse)
    wire.start()
    wire.until(lambda: looks(wire, message, before))
    assert wire.answers()
    assert wire.query("select id from generations where deleted_at is not null") == []
    assert ratings(wire) == {}
    assert "Traceback" not in wire.said()


def test_a_thumb_given_while_the_session_was_lost(wire: Wire) -> None:
    wire.start()
    message = clip(wire)

    async def refuse(packet: dict[str, Any]) -> bool:
        if packet["op"] != 6:
            return False
        message.reactions["👍"].add(BOB)
        return await wire.gateway._send({"op": 9, "d": False})

    wire.gateway.refuse = refuse
    wire.close(4000)
    wire.until(lambda: ratings(wire) == {BOB: 1})


def test_a_session_that_is_resumed_has_missed_nothing(wire: Wire) -> None:
    """Discord sends what came in between; nothing need be asked."""
    wire.start()
    message = clip(wire)
    wire.until(lambda: "logged in as" in wire.said())
    before = len(wire.discord.state.calls)
    wire.gateway.ready.clear()
    wire.close(4000)
    wire.until(wire.gateway.ready.is_set)
    assert wire.answers()
    assert looks(wire, message, before) == 0


def test_commands_do_not_wait_for_what_was_missed(wire: Wire) -> None:
    wire.start()
    message = clip(wire)
    wire.bots.kill()
    asked = 0

    async def dawdle(call: Call, done: bool) -> int | None:
        nonlocal asked
        if call.method == "GET" and call.path.endswith(f"/messages/{message.id}"):
            asked += not done
            return 503
        return None

    wire.discord.hook(dawdle)
    wire.start()
    wire.until(lambda: asked)
    wire.imagine(BOB, seed=3)
    wire.until(lambda: wire.states() == ["delivered", "delivered"])


def test_what_is_newer_than_the_session_was_not_missed(wire: Wire) -> None:
    """Its events come; and the messages of jobs that run are not asked for in vain."""
    wire.start()
    asked = wire.imagine(steps=60)
    wire.until(lambda: wire.states() == ["running"])
    message = wire.discord.state.messages[asked.message_id or 0]
    wire.until(lambda: "logged in as" in wire.said())
    wire.until(lambda: wire.states() == ["delivered"])
    assert looks(wire, message) == 0
