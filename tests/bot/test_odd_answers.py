"""An answer that is not what was asked for loses nothing and leaves nothing hanging."""

from __future__ import annotations

import pytest

from tests.bot.faults import (
    Which,
    click,
    clip_of,
    fail,
    is_acknowledgement,
    is_follow_up,
    is_reaction,
    private,
    settled,
    slash,
    states,
    thinking,
)
from tests.bot.test_loopback import Studio, studio
from tests.loopback_discord import Call
from tests.loopback_discord.answers import ODD, Reset, has_clip, html, is_card
from tests.loopback_discord.state import CHANNEL_ID

__all__ = ["studio"]

CUT = ODD | {"reset": Reset}
"""Also no answer at all."""


def is_first_card(call: Call) -> bool:
    return is_card(call) and not has_clip(call)


def is_edit(call: Call) -> bool:
    """Whether the call puts an answer in the place of "thinking"."""
    return call.method == "PATCH" and call.path.endswith("/@original")


def shows_clips(studio: Studio) -> int:
    return sum(message.clip is not None for message in studio.discord.state.shown())


@pytest.mark.parametrize("which", [is_first_card, has_clip, is_reaction, is_acknowledgement])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_an_odd_answer_once(
    studio: Studio, which: Which, after: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The fault comes before the call took effect, or after it."""
    for count, answer in enumerate(CUT.values(), start=1):
        caplog.clear()
        met = fail(studio, which, answer, after=after)
        await studio.imagine(prompt=f"clip {count}")
        assert await states(studio) == ["delivered"] * count
        assert met
        assert shows_clips(studio) == count
        assert not thinking(studio)
        assert not [r for r in caplog.records if r.exc_info], "a traceback for what Discord does"
    if which is not is_acknowledgement or after:
        assert all(
            set(message.reactions) >= ({"👎"} if which is is_reaction else {"👍", "👎"})
            for message in studio.discord.state.shown()
        )


async def test_a_first_card_that_was_not_shown_is_shown_without_anything_new(
    studio: Studio,
) -> None:
    """A job may wait for long, and nothing changes on its card meanwhile."""
    studio.bot.engine.hold()
    met = fail(studio, is_first_card, lambda: html(403), times=2)
    asked = await studio.imagine()
    await studio.until(lambda: asked.message_id is not None)
    message_id = asked.message_id or 0
    await studio.until(lambda: studio.discord.state.messages[message_id].embeds)
    assert len(met) == 2
    assert asked.message_id == message_id
    assert not thinking(studio)


async def test_a_message_whose_id_discord_never_tells_becomes_the_card(studio: Studio) -> None:
    """The answer to the acknowledgement, and those that ask for its message, are odd."""

    def which(call: Call) -> bool:
        return is_acknowledgement(call) or (call.method == "GET" and "@original" in call.path)

    met = fail(studio, which, ODD["object"], after=True, times=5)
    asked = await studio.imagine()
    assert await states(studio) == ["delivered"]
    assert len(met) > 2
    (message,) = studio.discord.state.shown()
    assert message.id == asked.message_id
    assert message.clip is not None
    assert studio.query("select message_id from jobs") == [{"message_id": message.id}]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("command", ["history", "cancel", "queue"])
async def test_an_odd_answer_to_what_only_the_user_sees(
    studio: Studio, command: str, after: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if command == "history":
        await clip_of(studio)
    which = {"history": is_edit, "cancel": is_follow_up, "queue": is_acknowledgement}[command]
    for name in ("empty", "cut", "null", "reset"):
        before = {message.id for message in private(studio)}
        met = fail(studio, which, CUT[name], after=after)
        await slash(studio, command)
        await studio.until(lambda met=met: met)
        await settled(studio)
        assert any(message.id not in before for message in private(studio)), name
        assert not any("went wrong" in message.content for message in private(studio))
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_an_odd_answer_to_a_deletion(studio: Studio, after: bool) -> None:
    """Where Discord took the message, the next try finds none."""
    for name in ("empty", "cut", "reset"):
        message, row = await clip_of(studio)
        met = fail(studio, lambda call: call.method == "DELETE", CUT[name], after=after)
        await click(studio, f"floor33:delete:{row['id']}", message.id)
        await studio.until(lambda met=met: met)
        await settled(studio)
        assert not (studio.settings.data_dir / row["path"]).exists(), name
        assert message.id not in studio.discord.state.messages, name
    assert not private(studio)


async def test_an_odd_answer_to_a_clip_that_is_sent_anew(studio: Studio) -> None:
    """Discord has taken the message: it is found, and not sent again."""
    asked = await studio.imagine(steps=30)
    await studio.until(studio.edits)
    asked.dead = True
    del studio.discord.state.messages[asked.message_id or 0]
    met = fail(
        studio, lambda call: call.method == "POST" and has_clip(call), ODD["null"], after=True
    )
    assert await states(studio) == ["delivered"]
    assert met
    (message,) = studio.discord.state.shown()
    assert message.channel_id == CHANNEL_ID
    assert len(message.clips) == 1
