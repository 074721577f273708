"""What Discord refuses: what is final and what is not, who is told, what can still be had."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.bot.conftest import World
from tests.bot.faults import (
    click,
    clip_of,
    direct,
    fail,
    found,
    is_acknowledgement,
    private,
    settled,
    states,
)
from tests.bot.test_loopback import Studio, studio
from tests.loopback_discord import Call, Message
from tests.loopback_discord.answers import error, has_clip, html, is_card, limited, raw
from tests.loopback_discord.state import CHANNEL_ID

__all__ = ["studio"]

OVER = "select state, reason from jobs where state = 'delivered' or reason is not null"
DELIVERED = [{"state": "delivered", "reason": None}]


def is_edit_with_clip(call: Call) -> bool:
    return call.method == "PATCH" and has_clip(call)


def shown_clips(studio: Studio) -> list[Message]:
    return [message for message in studio.discord.state.shown() if message.clip is not None]


async def test_a_page_of_something_in_between_is_not_discords_word(studio: Studio) -> None:
    """A proxy or a protection before Discord answers for some seconds instead of Discord."""
    statuses = (400, 401, 403, 404, 408, 429, 503, 520)
    for count, status in enumerate(statuses, start=1):
        met: list[Call] = []

        async def hook(
            call: Call, done: bool, met: list[Call] = met, status: int = status
        ) -> int | None:
            if not done and len(met) < 6 and (has_clip(call) or met):
                met.append(call)
                raise html(status)
            return None

        studio.discord.hook(hook)
        asked = await studio.imagine()
        assert await states(studio) == ["delivered"] * count
        assert len(met) == 6
        assert shown_clips(studio)[-1].id == asked.message_id
    assert len(shown_clips(studio)) == len(statuses)
    assert not direct(studio)


async def test_a_message_that_takes_no_edit_is_sent_anew(studio: Studio) -> None:
    refusals = [(400, code) for code in (30046, 50035, 50006, 40006, 50109, 50083)]
    refusals += [(403, 50001), (403, 50013), (403, 160_005), (404, 10008), (404, 10015)]
    refusals += [(429, 30046), (401, 50027)]
    for count, (status, code) in enumerate(refusals, start=1):
        met = fail(
            studio,
            is_edit_with_clip,
            lambda status=status, code=code: error(status, code),
            times=99,
        )
        await studio.imagine()
        assert await states(studio) == ["delivered"] * count
        assert len(met) == 2  # by the interaction's token, and as the author
        assert len(shown_clips(studio)) == count
    assert not direct(studio)


async def test_a_rate_limit_of_one_old_message_is_not_waited_for(studio: Studio) -> None:
    fields = {"retry_after": 900.0, "global": False}
    fail(studio, is_edit_with_clip, lambda: error(429, 30046, **fields), times=99)
    await studio.imagine()
    assert await found(studio, OVER, 15) == DELIVERED
    assert len(shown_clips(studio)) == 1


@pytest.mark.parametrize(("status", "code"), [(400, 200_000), (400, 50035), (403, 50001)])
async def test_somebody_is_told_of_a_clip_that_is_refused_everywhere(
    studio: Studio, status: int, code: int
) -> None:
    """The card must not stand at "Rendering … 100%", with a button that does nothing."""
    fail(studio, has_clip, lambda: error(status, code), times=99)
    asked = await studio.imagine()
    assert await states(studio) == ["rendered"]
    card = studio.discord.state.messages[asked.message_id or 0]
    assert "Rendering" not in card.content
    assert "/history" in card.content
    (row,) = studio.query("select id from generations")
    assert f"floor33:fetch:{row['id']}" in str(card.components)
    assert "floor33:cancel:" not in str(card.components)

    # Its owner has it sent.
    studio.discord.hook(None)
    await click(studio, f"floor33:fetch:{row['id']}", card.id)
    await settled(studio)
    assert [message.clip is not None for message in private(studio)] == [True]
    assert await states(studio) == ["delivered"]


async def test_a_clip_that_is_sent_twice_at_a_time_is_no_fault(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    """The owner clicks twice: two private messages, no excuse."""
    fail(studio, has_clip, lambda: error(400, 50035), times=4)
    asked = await studio.imagine()
    assert await states(studio) == ["rendered"]
    (row,) = studio.query("select id from generations")
    clicks = (click(studio, f"floor33:fetch:{row['id']}", asked.message_id or 0) for _ in range(2))
    await asyncio.gather(*clicks)
    await settled(studio)
    assert [message.clip is not None for message in private(studio)] == [True, True]
    assert await states(studio) == ["delivered"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("answer", [lambda: error(413, 40005), lambda: html(413)])
async def test_a_clip_that_is_too_large_in_every_size_leaves_no_loose_end(
    studio: Studio, answer: Any
) -> None:
    """Not even the card without the clip is taken."""
    fail(
        studio,
        lambda call: is_card(call) and "reroll" in str(call.payload.get("components")),
        answer,
        times=99,
    )
    asked = await studio.imagine()
    assert await states(studio) == ["rendered"]
    assert studio.query("select reason from jobs") == [{"reason": "undelivered"}]
    assert "/history" in studio.discord.state.messages[asked.message_id or 0].content


async def test_a_page_that_says_too_large_makes_the_clip_smaller(studio: Studio) -> None:
    met = fail(studio, has_clip, lambda: html(413))
    await studio.imagine()
    assert await found(studio, OVER, 20) == DELIVERED
    assert met
    (message,) = shown_clips(studio)
    assert "Made smaller" in message.content


async def test_a_refused_token_is_waited_for(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    """A token that was reset is the operator's business, not the clip's end."""
    asked = await studio.imagine(steps=20)
    await studio.until(studio.edits)
    met = fail(studio, lambda _: True, lambda: error(401, 0, "401: Unauthorized"), times=10**6)
    await found(studio, "select 1 from jobs where state = 'rendered'")
    await studio.until(lambda: len(met) > 3)
    studio.discord.hook(None)  # mended
    assert await found(studio, OVER) == DELIVERED
    assert [message.id for message in shown_clips(studio)] == [asked.message_id]
    assert any("DISCORD_TOKEN" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("last", ["refused", "accepted", "out of order"])
async def test_a_token_that_stays_refused_ends_the_bot(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    """An outage in between says nothing about the token."""
    monkeypatch.setattr("bot.lifecycle.token_watch._ASK_EVERY_S", 0.05)
    monkeypatch.setattr("bot.lifecycle.token_watch._ASK_TIMES", 3)
    answers = {
        "refused": lambda: error(401, 0, "401: Unauthorized"),
        "out of order": lambda: html(403),
    }
    met = fail(
        studio, lambda call: "oauth2" in call.path, answers.get(last, lambda: None), times=99
    )
    if last == "accepted":
        studio.discord.hook(None)
    studio.bot.token_watch.note_refusal()
    if last == "refused":
        await studio.until(lambda: studio.bot.failure)
        assert len(met) == 3
        assert "DISCORD_TOKEN" in str(studio.bot.failure)
        await studio.bot.close()  # it ends by itself, and is waited for
        assert studio.bot.ended.is_set()
        return
    await studio.until(lambda: len(met) > 5 or not studio.bot.token_watch.refused)
    assert studio.bot.failure is None
    assert studio.bot.token_watch.refused is (last == "out of order")


@pytest.mark.parametrize("status", [400, 401, 403, 502])
async def test_the_message_stays_or_goes_together_with_its_clip(
    studio: Studio, status: int
) -> None:
    """Delete is clicked and Discord does not take the message away."""
    message, row = await clip_of(studio)

    async def hook(call: Call, done: bool) -> int | None:
        return status if not done and call.method == "DELETE" else None

    studio.discord.hook(hook)
    await click(studio, f"floor33:delete:{row['id']}", message.id)
    if status < 500 and status != 401:
        await settled(studio)
        studio.discord.hook(None)
        assert message.id in studio.discord.state.messages
        assert (studio.settings.data_dir / row["path"]).exists()
        (said,) = private(studio)
        assert "nothing was removed" in said.content
        return
    await asyncio.sleep(0.5)
    studio.discord.hook(None)  # well again: it is deleted now
    await settled(studio)
    assert message.id not in studio.discord.state.messages
    assert not (studio.settings.data_dir / row["path"]).exists()
    assert not private(studio)


@pytest.mark.parametrize(("status", "code"), [(404, 10008), (404, 10003)])
async def test_a_message_that_is_gone_counts_as_deleted(
    studio: Studio, status: int, code: int
) -> None:
    message, row = await clip_of(studio)
    fail(studio, lambda call: call.method == "DELETE", lambda: error(status, code), times=9)
    await click(studio, f"floor33:delete:{row['id']}", message.id)
    await settled(studio)
    assert not (studio.settings.data_dir / row["path"]).exists()
    assert not private(studio)


async def test_a_delete_without_the_interactions_token(studio: Studio) -> None:
    """The bot deletes its message as the author."""
    message, row = await clip_of(studio)
    fail(studio, lambda call: "@original" in call.path, lambda: error(404, 10015), times=9)
    await click(studio, f"floor33:delete:{row['id']}", message.id)
    await settled(studio)
    assert message.id not in studio.discord.state.messages
    assert not (studio.settings.data_dir / row["path"]).exists()


async def test_a_command_that_came_too_late_is_no_fault(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    """Too late, or answered by another process: no job, and no traceback."""
    for code in (10062, 40060):
        met = fail(studio, is_acknowledgement, lambda code=code: error(404, code))
        await studio.imagine()
        await studio.until(lambda met=met: met)
        await settled(studio)
    assert studio.query("select * from jobs") == []
    assert not private(studio)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_rate_limit_on_the_interaction_does_not_waste_its_token(studio: Studio) -> None:
    """In a channel that the bot cannot see, the interaction's answer is the only way to it."""
    met: list[Call] = []

    async def hook(call: Call, done: bool) -> int | None:
        if done:
            return None
        if call.method == "PATCH" and call.path.startswith("/webhooks/") and len(met) < 4:
            met.append(call)
            answers = (html(429), error(401, 0), raw(403, b"null"), limited(0.2))
            raise answers[len(met) - 1]
        if call.path.startswith(f"/channels/{CHANNEL_ID}"):
            raise error(403, 50001, "Missing Access")
        return None

    studio.discord.hook(hook)
    asked = await studio.imagine()
    assert await found(studio, OVER) == DELIVERED
    assert len(met) == 4
    assert [message.id for message in shown_clips(studio)] == [asked.message_id]
    assert not direct(studio)


@pytest.mark.parametrize("refused", ["👍", "👎"])
async def test_both_thumbs_are_tried(studio: Studio, refused: str) -> None:
    """Somebody is faster, or one of them is refused: the other is still put there."""
    met = fail(studio, lambda call: refused in call.path, lambda: error(400, 30010), times=9)
    message, _ = await clip_of(studio)
    assert len(met) == 1
    assert set(message.reactions) == {"👍", "👎"} - {refused}


async def test_a_thumb_that_got_no_answer_is_put_there_later(studio: Studio) -> None:
    met = fail(studio, lambda call: "/reactions/" in call.path, lambda: html(503), times=6)
    message, _ = await clip_of(studio)
    await studio.until(lambda: set(message.reactions) == {"👍", "👎"})
    assert len(met) == 6


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(400, 50083, "Thread is archived"), (403, 160_005, "Thread is locked")],
)
async def test_an_archived_thread_gets_a_new_message(
    world: World, status: int, code: int, words: str
) -> None:
    await world.alice.slash(world.channel, "imagine", prompt="a cat", steps=20)
    for path in ("/channels/*/messages/*", "/webhooks/*"):
        world.env.inject_error("PATCH", path, status=status, code=code, message=words, times=None)
    (job,) = await world.until(lambda: world.query(f"{OVER}"))
    list(world.env.errors)
    assert job["state"] == "delivered"


@pytest.mark.parametrize(
    ("status", "code"), [(403, 160_005), (400, 20009), (403, 50001), (400, 200_000), (404, 10003)]
)
async def test_a_channel_that_takes_nothing_leads_to_a_direct_message(
    world: World, status: int, code: int
) -> None:
    await world.alice.slash(world.channel, "imagine", prompt="a cat", steps=20)
    path = f"/channels/{world.channel.id}/messages"
    world.env.inject_error("PATCH", f"{path}/*", status=404, code=10008, times=None)
    world.env.inject_error("POST", path, status=status, code=code, times=None)
    (job,) = await world.until(
        lambda: world.query("select * from jobs where state = 'delivered' or reason is not null")
    )
    list(world.env.errors)
    assert job["state"] == "delivered"
    assert job["channel_id"] != world.channel.id
