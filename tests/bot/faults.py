"""Have the loopback Discord fail at one kind of call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.bot.test_loopback import ALICE, Studio
from tests.loopback_discord import Call, Message
from tests.loopback_discord.state import EPHEMERAL, LOADING

Which = Callable[[Call], bool]
PATIENCE_S = 40.0


def is_acknowledgement(call: Call) -> bool:
    return call.path.endswith("/callback")


def is_follow_up(call: Call) -> bool:
    """Whether the call adds a message to an interaction's answer."""
    return call.method == "POST" and call.path.startswith("/webhooks/")


def is_reaction(call: Call) -> bool:
    return call.method == "PUT" and "/reactions/" in call.path


def fail(
    studio: Studio,
    which: Which,
    answer: Callable[[], Exception],
    *,
    after: bool = False,
    times: float = 1,
) -> list[Call]:
    """Answer calls with something else, and return those that met it.

    Args:
        studio: whose Discord it is.
        which: the calls.
        answer: makes what is raised.
        after: once they have taken effect.
        times: how many.
    """
    met: list[Call] = []

    async def hook(call: Call, done: bool) -> int | None:
        if done is after and len(met) < times and which(call):
            met.append(call)
            raise answer()
        return None

    studio.discord.hook(hook)
    return met


async def settled(studio: Studio, seconds: float = PATIENCE_S) -> None:
    """Wait until no job is under way and no interaction is unanswered. Raises TimeoutError."""
    state = studio.discord.state

    def under_way() -> bool:
        paths = "\n".join([call.path for call in state.calls])
        unheard = any(token not in paths for token in list(state.interactions))
        return unheard or studio.bot.studio.busy or bool(studio.bot.shutdown._in_hand)

    async with asyncio.timeout(seconds):
        while under_way():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def found(studio: Studio, sql: str, seconds: float = PATIENCE_S) -> list[dict[str, Any]]:
    """Return the rows, once there are any; none if there are not in time."""
    for _ in range(int(seconds * 10)):
        if rows := studio.query(sql):
            return rows
        await asyncio.sleep(0.1)
    return []


async def states(studio: Studio) -> list[str]:
    """Return the states of all jobs, once none is under way."""
    await settled(studio)
    return [row["state"] for row in studio.query("select state from jobs order by created_at")]


async def clip_of(studio: Studio, **options: Any) -> tuple[Message, dict[str, Any]]:
    """Have a clip made; its message and its row."""
    asked = await studio.imagine(**options)
    await settled(studio)
    (row,) = studio.query(
        f"select g.*, g.job_id from generations g join jobs j on j.id = g.job_id"
        f" where j.message_id = {asked.message_id}"
    )
    return studio.discord.state.messages[asked.message_id or 0], row


async def waiting_job(studio: Studio, **options: Any) -> tuple[Message, str]:
    """Have a job wait until it is cancelled; its card and its id."""
    studio.bot.engine.hold()
    asked = await studio.imagine(**options)
    await studio.until(lambda: asked.message_id is not None)
    card = studio.discord.state.messages[asked.message_id or 0]
    await studio.until(lambda: card.content.startswith("⏳ In the queue"))
    (row,) = studio.query(f"select id from jobs where message_id = {card.id}")
    return card, row["id"]


async def click(studio: Studio, custom_id: str, message_id: int, user: int = ALICE) -> None:
    await asyncio.to_thread(studio.discord.click, user, custom_id, message_id)


async def slash(studio: Studio, command: str, user: int = ALICE, **options: Any) -> None:
    await asyncio.to_thread(studio.discord.slash, user, command, **options)


def private(studio: Studio) -> list[Message]:
    """Return what only single users see, but no "thinking"."""
    messages = studio.discord.state.messages.values()
    return [m for m in messages if m.flags & EPHEMERAL and not m.flags & LOADING]


def thinking(studio: Studio) -> list[Message]:
    """Return the messages that say "thinking", whoever sees them."""
    return [m for m in studio.discord.state.messages.values() if m.flags & LOADING]


def direct(studio: Studio) -> list[Message]:
    """Return the direct messages."""
    channels = studio.discord.state.direct_channels.values()
    return [m for m in studio.discord.state.messages.values() if m.channel_id in channels]
