"""What took effect is not done twice, though its answer was lost; what did not is done."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import datetime, timedelta

import pytest

from tests.bot.faults import states
from tests.bot.test_loopback import Studio, studio
from tests.loopback_discord import Call
from tests.loopback_discord.answers import has_clip
from tests.loopback_discord.state import Interaction

__all__ = ["studio"]


async def without_a_message(studio: Studio) -> Interaction:
    """Ask for a clip whose card goes away before it is done."""
    asked = await studio.imagine(steps=30)
    await studio.until(studio.edits)
    asked.dead = True
    del studio.discord.state.messages[asked.message_id or 0]
    return asked


def forget_nonces(studio: Studio) -> None:
    """Discord remembers them for some minutes only."""
    for message in studio.discord.state.messages.values():
        message.nonce = None


@pytest.mark.parametrize("by_direct_message", [False, True], ids=["channel", "direct message"])
async def test_a_clip_whose_answer_was_lost_is_not_sent_again(
    studio: Studio, by_direct_message: bool
) -> None:
    """Discord takes the message, its answer is lost, then Discord is away for minutes."""
    taken: list[Call] = []
    refused = 0

    async def hook(call: Call, done: bool) -> int | None:
        nonlocal refused
        if by_direct_message and not done and "/channels/3001/messages" in call.path:
            return 403 if call.method == "POST" else None
        if call.method != "POST" or not has_clip(call):
            return None
        if done and not taken:
            taken.append(call)
            forget_nonces(studio)
            return 502
        if not done and taken and refused < 4:
            refused += 1
            return 503
        return None

    await without_a_message(studio)
    studio.discord.hook(hook)
    assert await states(studio) == ["delivered"]
    assert taken
    (message,) = [m for m in studio.discord.state.shown() if m.clip is not None]
    assert (message.channel_id in studio.discord.state.direct_channels.values()) is (
        by_direct_message
    )


@pytest.mark.parametrize("minutes", [0, 10, -10], ids=["right", "ahead", "behind"])
async def test_a_clip_sent_before_the_bot_was_killed_is_found(studio: Studio, minutes: int) -> None:
    """The machine's clock is not Discord's: the time that it would have stored is in the row."""
    asked = await without_a_message(studio)
    (first,) = await studio.clips()
    assert first.id != asked.message_id
    await studio.bot.close()
    forget_nonces(studio)
    with contextlib.closing(sqlite3.connect(studio.settings.database_path)) as database:
        (stored,) = database.execute("select created_at from jobs").fetchone()
        stamp = datetime.fromisoformat(stored) + timedelta(minutes=minutes)
        database.execute(
            "update jobs set state = 'rendered', finished_at = null, message_id = ?,"
            " created_at = ?",
            (asked.message_id, stamp.isoformat(" ", "microseconds")),
        )
        database.commit()
    async with studio.next_bot():
        clips = await studio.clips()
        assert [message.id for message in clips] == [first.id]
