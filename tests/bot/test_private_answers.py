"""Answers for one user alone, while Discord does not take them at once."""

from __future__ import annotations

import asyncio
from typing import Any

from bot.jobs.delivery import WAITING
from tests.bot.test_loopback import ALICE, Studio, studio
from tests.loopback_discord import Call, Message
from tests.loopback_discord.answers import Reset, error, has_clip, limited
from tests.loopback_discord.state import EPHEMERAL, LOADING, Interaction

__all__ = ["studio"]


def private(studio: Studio) -> list[Message]:
    """What users were told alone, "thinking" included."""
    return [m for m in studio.discord.state.messages.values() if m.flags & EPHEMERAL]


def answers(studio: Studio) -> list[Message]:
    """The same, once nothing is about to be told any more."""
    found = private(studio)
    return [] if any(m.flags & LOADING or m.content == "…" for m in found) else found


async def slash(studio: Studio, command: str) -> Interaction:
    made = await asyncio.to_thread(studio.discord.slash, ALICE, command)
    assert made is not None
    return made


async def history(studio: Studio) -> Message:
    """The answer to /history of somebody who has one clip."""
    await studio.imagine()
    await studio.clips()
    await slash(studio, "history")
    (answer,) = await studio.until(lambda: answers(studio))
    assert isinstance(answer, Message)
    return answer


async def test_a_list_is_answered_once_discord_is_well(studio: Studio) -> None:
    broken = 0

    async def cut(call: Call, done: bool) -> int | None:
        nonlocal broken
        if call.path.startswith("/webhooks/") and not done and broken < 3:
            broken += 1
            raise Reset
        return None

    await studio.imagine()
    await studio.clips()
    studio.discord.hook(cut)
    await slash(studio, "history")
    (answer,) = await studio.until(lambda: answers(studio))
    assert broken == 3
    assert "a cat" in answer.embeds[0]["description"]


async def test_a_clip_is_sent_after_a_cut_connection(studio: Studio) -> None:
    """Its file is read anew for each try."""
    listed = await history(studio)
    broken = 0

    async def cut(call: Call, done: bool) -> int | None:
        nonlocal broken
        if has_clip(call) and not done and broken < 2:
            broken += 1
            raise Reset
        return None

    studio.discord.hook(cut)
    (row,) = studio.query("select id from generations")
    button = f"floor33:fetch:{row['id']}"
    await asyncio.to_thread(studio.discord.click, ALICE, button, listed.id)
    sent = await studio.until(lambda: [m for m in answers(studio) if m.clip is not None])
    assert broken == 2
    assert len(sent) == 1


async def test_an_answer_that_the_library_repeats_is_there_once(studio: Studio) -> None:
    sent: list[Call] = []

    async def lose(call: Call, done: bool) -> int | None:
        if done and call.path.startswith("/webhooks/"):
            sent.append(call)
            return 502 if len(sent) == 1 else None
        return None

    await studio.imagine()
    await studio.clips()
    studio.discord.hook(lose)
    await slash(studio, "history")
    await studio.until(lambda: len(sent) == 2)
    assert len(await studio.until(lambda: answers(studio))) == 1


async def test_a_list_that_is_refused_is_answered_with_a_sentence(studio: Studio) -> None:
    async def refuse(call: Call, done: bool) -> int | None:
        if call.path.startswith("/webhooks/") and call.payload.get("embeds") and not done:
            raise error(400, 50035)
        return None

    await studio.imagine()
    await studio.clips()
    studio.discord.hook(refuse)
    await slash(studio, "history")
    told = await studio.until(lambda: answers(studio))
    assert [m.content for m in told] == ["Discord did not take the answer. Try again in a minute."]


async def test_a_sentence_finds_a_place_where_no_message_is_taken(studio: Studio) -> None:
    async def refuse(call: Call, done: bool) -> int | None:
        if call.method == "POST" and call.path.startswith("/webhooks/") and not done:
            raise error(403, 50001)
        return None

    studio.discord.hook(refuse)
    await slash(studio, "cancel")
    told = await studio.until(lambda: answers(studio))
    assert [m.content for m in told] == ["There is nothing of yours to cancel."]


async def test_who_has_to_wait_for_an_hour_can_know(studio: Studio) -> None:
    asked: list[Any] = []

    async def limit(call: Call, done: bool) -> int | None:
        if has_clip(call) and not done:
            asked[0].dead = True
            if call.path.startswith("/channels/"):
                raise limited(3600.0)
        return None

    studio.discord.hook(limit)
    asked.append(await studio.imagine())
    waiting = f"select id from jobs where state = 'rendered' and error = '{WAITING}'"
    assert await studio.until(lambda: studio.query(waiting))
