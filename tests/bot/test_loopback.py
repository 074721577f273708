"""The bot against Discord over real HTTP: what a simulation in its own process cannot show."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import discord.gateway
import discord.http
import pytest
import yarl

from bot.app import Floor33Bot, create_bot
from bot.messages.throttle import EditThrottle
from bot.settings import Settings
from tests.loopback_discord import Call, LoopbackDiscord, Message
from tests.loopback_discord.state import CHANNEL_ID, Interaction

ALICE, BOB = 5_001, 5_002


@dataclass
class Studio:
    """Discord, and the bot that is logged in to it."""

    discord: LoopbackDiscord
    bot: Floor33Bot
    settings: Settings

    async def imagine(self, user: int = ALICE, **options: Any) -> Interaction:
        made = await asyncio.to_thread(
            self.discord.slash, user, "imagine", **({"prompt": "a cat", "steps": 2} | options)
        )
        assert made is not None
        return made

    async def until(self, condition: Callable[[], Any]) -> Any:
        return await asyncio.to_thread(self.discord.until, condition)

    async def clips(self, count: int = 1) -> list[Message]:
        """The messages with a clip, once there are so many and the store knows."""
        delivered = "select id from jobs where state = 'delivered'"
        await self.until(lambda: len(self.query(delivered)) == count)
        return [m for m in self.discord.state.shown() if m.clip is not None]

    def query(self, sql: str) -> list[dict[str, Any]]:
        with contextlib.closing(sqlite3.connect(self.settings.database_path)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(sql)]

    @contextlib.asynccontextmanager
    async def next_bot(self) -> AsyncIterator[Floor33Bot]:
        """Run another bot on the same data, after the first has been closed."""
        bot = create_bot(self.settings, edit_interval_s=0.0, retry_s=0.05)
        running = asyncio.create_task(bot.start("loopback.token.of-no-use"))
        try:
            yield bot
        finally:
            await bot.close()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    def edits(self) -> list[Call]:
        return [call for call in self.discord.state.calls if call.method == "PATCH"]


@pytest.fixture
async def studio(
    overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Studio]:
    settings = Settings.load(overrides=overrides)
    with LoopbackDiscord() as server:
        monkeypatch.setattr(discord.http.Route, "BASE", server.url)
        gateway = yarl.URL(server.gateway_url)
        monkeypatch.setattr(discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", gateway)
        bot = create_bot(settings, edit_interval_s=0.0, retry_s=0.05)
        running = asyncio.create_task(bot.start("loopback.token.of-no-use"))
        ready = asyncio.create_task(asyncio.to_thread(server.wait_ready, 60.0))
        await asyncio.wait((running, ready), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        yield Studio(server, bot, settings)
        await bot.close()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_the_job_knows_its_message_before_anything_is_shown(studio: Studio) -> None:
    seen: list[dict[str, Any]] = []

    async def look(call: Call, done: bool) -> int | None:
        if call.method == "PATCH" and not done and not seen:
            seen.extend(studio.query("select * from jobs"))
        return None

    studio.discord.hook(look)
    asked = await studio.imagine()
    (message,) = await studio.clips()
    (first,) = seen
    assert (first["message_id"], first["interaction_token"]) == (message.id, asked.token)
    (last,) = studio.query("select * from jobs")
    assert last["interaction_token"] is None
    assert message.clips == [f"floor33-{last['id'][:12]}.mp4"]
    await studio.until(lambda: set(message.reactions) == {"👍", "👎"})


async def test_a_refused_size_is_made_smaller_until_it_is_taken(studio: Studio) -> None:
    await studio.imagine()
    (message,) = await studio.clips()
    assert message.clip is not None
    whole = message.clip.size
    studio.discord.state.upload_limit = whole // 2  # and interactions tell the old one
    await studio.imagine(seed=7, prompt="a cat again")
    messages = await studio.clips(2)
    assert messages[1].clip is not None
    assert messages[1].clip.size <= whole // 2
    (row,) = studio.query("select path from generations where seed = 7")
    assert (studio.settings.data_dir / row["path"]).stat().st_size > whole // 2


async def test_a_dead_token_is_no_obstacle(studio: Studio) -> None:
    asked = await studio.imagine(steps=20)
    await studio.until(lambda: len(studio.edits()) > 1)
    asked.dead = True
    (message,) = await studio.clips()
    assert message.id == asked.message_id


async def test_the_clip_is_sent_again_while_discord_is_out_of_order(studio: Studio) -> None:
    refused = 0

    async def refuse(call: Call, done: bool) -> int | None:
        nonlocal refused
        if any(name.endswith(".mp4") for name in call.files) and refused < 12 and not done:
            refused += 1
            return 502
        return None

    studio.discord.hook(refuse)
    await studio.imagine()
    (message,) = await studio.clips()
    # discord.py itself tries five times; then it is ours to wait and try.
    assert refused == 12
    assert len(message.clips) == 1
    assert studio.query("select attempts from jobs") == [{"attempts": 1}]


async def test_a_lost_answer_does_not_double_the_clip(studio: Studio) -> None:
    """Discord has taken the message, but the bot does not hear of it."""
    lost = 0

    async def lose(call: Call, done: bool) -> int | None:
        nonlocal lost
        if done and call.method == "POST" and call.files and not lost:
            lost += 1
            return 502
        return None

    asked = await studio.imagine(steps=30)
    await studio.until(studio.edits)
    asked.dead = True
    del studio.discord.state.messages[asked.message_id or 0]
    studio.discord.hook(lose)
    (message,) = await studio.clips()
    assert lost == 1
    assert message.channel_id == CHANNEL_ID
    assert len(message.clips) == 1


async def test_a_rate_limit_is_waited_for(studio: Studio) -> None:
    refused = 0

    async def refuse(call: Call, done: bool) -> int | None:
        nonlocal refused
        if call.method == "PATCH" and not done and refused < 3:
            refused += 1
            return 429
        return None

    studio.discord.hook(refuse)
    await studio.imagine()
    assert await studio.clips()
    assert refused == 3


async def test_no_message_is_edited_twice_at_a_time(studio: Studio) -> None:
    under_way: Counter[str] = Counter()
    most = 0

    async def dawdle(call: Call, done: bool) -> int | None:
        nonlocal most
        if call.method == "PATCH":
            key = call.path.rpartition("/messages/")[2]
            under_way[key] += -1 if done else 1
            most = max(most, under_way[key])
            if not done:
                await asyncio.sleep(0.05)
        return None

    studio.discord.hook(dawdle)
    await studio.imagine(steps=20)
    await studio.imagine(BOB, steps=20)
    await studio.clips(2)
    assert most == 1


def test_many_cards_share_what_discord_allows() -> None:
    pace = EditThrottle(2.0, 5.0)
    pace.enter(1)
    assert pace.interval_s(1) == 2.0
    for _ in range(9):
        pace.enter(1)
    assert pace.interval_s(1) == 10.0  # ten cards, one edit a second
    for channel in range(2, 402):
        pace.enter(channel)
    assert pace.interval_s(2) == pytest.approx(410 / 20)  # 20 edits a second in all
    for channel in range(2, 402):
        pace.leave(channel)
    assert pace.interval_s(2) == 2.0


def test_patience_has_no_end_and_grows() -> None:
    pace = EditThrottle(2.0, 5.0)
    assert list(pace.retries_s(patient=False)) == [5.0, 15.0, 45.0, 60.0]
    # Whoever waits is served within a minute of the trouble's end.
    assert list(islice(pace.retries_s(patient=True), 100))[-1] == 60.0


async def test_the_token_is_the_first_way_to_the_card(studio: Studio) -> None:
    """It reaches channels that the bot cannot see."""
    asked = await studio.imagine()
    await studio.clips()
    token = f"/{asked.token}/messages/{asked.message_id}"
    assert studio.edits()
    assert all(call.path.endswith(token) for call in studio.edits())
