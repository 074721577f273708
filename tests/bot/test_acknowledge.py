"""The first answer to a command or click gets lost, or somebody else has given it."""

from __future__ import annotations

import asyncio

import pytest

from tests.bot.faults import (
    click,
    clip_of,
    fail,
    is_acknowledgement,
    private,
    settled,
    slash,
    states,
    thinking,
    waiting_job,
)
from tests.bot.test_loopback import BOB, Studio, studio
from tests.loopback_discord import Call
from tests.loopback_discord.answers import Reset, error, html

__all__ = ["studio"]


def lose_answers(studio: Studio, *, by_status: bool = True) -> list[Call]:
    """Discord takes the next acknowledgement, and its answer does not arrive.

    discord.py asks again by itself after a 502, and hears that it was answered before (40060).
    """
    return fail(studio, is_acknowledgement, lambda: html(502) if by_status else Reset(), after=True)


@pytest.mark.parametrize("by_status", [True, False], ids=["502", "cut connection"])
async def test_imagine(studio: Studio, by_status: bool) -> None:
    lost = lose_answers(studio, by_status=by_status)
    asked = await studio.imagine()
    assert await states(studio) == ["delivered"]
    assert lost
    assert not thinking(studio)
    (message,) = studio.discord.state.shown()
    assert message.id == asked.message_id


async def test_a_connection_that_is_cut_again_and_again(studio: Studio) -> None:
    """Before Discord has taken anything; it takes the first answer within three seconds."""
    for count, answer in enumerate((Reset, lambda: html(403), lambda: html(429)), start=1):
        lost = fail(studio, is_acknowledgement, answer, times=3)
        await studio.imagine()
        assert await states(studio) == ["delivered"] * count
        assert len(lost) == 3
    assert not thinking(studio)


@pytest.mark.parametrize("by_status", [True, False], ids=["502", "cut connection"])
async def test_each_button(studio: Studio, by_status: bool) -> None:
    message, row = await clip_of(studio)
    lost = lose_answers(studio, by_status=by_status)
    await click(studio, f"floor33:reroll:{row['id']}", message.id, BOB)
    assert await states(studio) == ["delivered"] * 2
    assert lost
    assert not thinking(studio)

    await slash(studio, "history")
    await settled(studio)
    (history,) = private(studio)
    lost = lose_answers(studio, by_status=by_status)
    await click(studio, f"floor33:fetch:{row['id']}", history.id)
    await settled(studio)
    assert lost
    assert [sent.clip is not None for sent in private(studio)] == [False, True]

    lost = lose_answers(studio, by_status=by_status)
    await click(studio, f"floor33:delete:{row['id']}", message.id)
    await settled(studio)
    assert lost
    assert message.id not in studio.discord.state.messages
    assert not (studio.settings.data_dir / row["path"]).exists()

    card, job_id = await waiting_job(studio)
    lost = lose_answers(studio, by_status=by_status)
    await click(studio, f"floor33:cancel:{job_id}", card.id)
    await settled(studio)
    assert lost
    assert len(studio.query("select id from jobs where state = 'cancelled'")) == 1


@pytest.mark.parametrize("by_status", [True, False], ids=["502", "cut connection"])
async def test_history_and_cancel(studio: Studio, by_status: bool) -> None:
    await clip_of(studio)
    lost = lose_answers(studio, by_status=by_status)
    await slash(studio, "history")
    await settled(studio)
    assert lost
    assert [bool(message.embeds) for message in private(studio)] == [True]

    await waiting_job(studio)
    lost = lose_answers(studio, by_status=by_status)
    await slash(studio, "cancel")
    await settled(studio)
    assert lost
    assert "Cancelled: " in private(studio)[-1].content


async def test_somebody_else_has_answered(studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    """Two bots with one token, or an old one that lingers: no job, and nothing to excuse."""

    async def hook(call: Call, done: bool) -> int | None:
        if not done and is_acknowledgement(call):
            token = call.path.split("/")[-2]
            studio.discord.state.interactions[token].acknowledged_at = 1.0
        return None

    studio.discord.hook(hook)
    await studio.imagine()
    await slash(studio, "queue")
    await slash(studio, "history")
    await settled(studio)
    assert studio.query("select state from jobs") == []
    assert not private(studio)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_refused_acknowledgement_is_no_fault_of_ours(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    """10062 is common: the bot was too slow, or the user's network was."""
    refused = fail(studio, is_acknowledgement, lambda: error(404, 10062), times=2)
    await studio.imagine()
    await slash(studio, "queue")
    await studio.until(lambda: len(refused) == 2)
    await settled(studio)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_delete_clicked_twice(studio: Studio) -> None:
    message, row = await clip_of(studio)
    clicks = (click(studio, f"floor33:delete:{row['id']}", message.id) for _ in range(2))
    await asyncio.gather(*clicks)
    await settled(studio)
    assert not any("went wrong" in told.content for told in private(studio))
    assert not (studio.settings.data_dir / row["path"]).exists()


async def test_cancel_clicked_twice(studio: Studio) -> None:
    card, job_id = await waiting_job(studio)
    clicks = (click(studio, f"floor33:cancel:{job_id}", card.id) for _ in range(2))
    await asyncio.gather(*clicks)
    assert await states(studio) == ["cancelled"]
    assert not private(studio)
