"""SIGTERM in the midst of something: what was acknowledged is kept, or its user is told."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bot.wire import Wire, wire, wired
from tests.loopback_discord import Call, Message
from tests.loopback_discord.answers import has_clip
from tests.loopback_discord.state import Interaction

__all__ = ["wire"]

Moment = Callable[[Call, bool], bool]
SLOW_S = 0.5
ENDED_S = 30.0


def acknowledgement(call: Call, done: bool) -> bool:
    return call.path.endswith("/callback") and not done


def acknowledged(call: Call, done: bool) -> bool:
    return call.path.endswith("/callback") and done


def end_at(
    wire: Wire,
    moment: Moment,
    act: Callable[[], Interaction | None],
    number: signal.Signals = signal.SIGTERM,
) -> Interaction:
    """End the bot by a signal at a moment after `act()`, and start the next one."""
    struck: list[Call] = []

    async def hook(call: Call, done: bool) -> int | None:
        if not struck and moment(call, done):
            struck.append(call)
            assert wire.bots.pid is not None
            os.kill(wire.bots.pid, number)
            await asyncio.sleep(SLOW_S)  # a slow line
        return None

    wire.discord.hook(hook)
    asked = act()
    assert asked is not None
    wire.until(lambda: struck)
    wire.until(lambda: not wire.bots.alive, ENDED_S)
    wire.stopped()
    wire.discord.hook(None)
    wire.start()
    return asked


def all_delivered(wire: Wire) -> bool:
    return bool(wire.states()) and set(wire.states()) == {"delivered"}


def thinking(wire: Wire) -> list[Message]:
    """Return the public messages that say "thinking" for ever."""
    return [m for m in wire.discord.state.shown() if not m.content and not m.embeds]


def kept_or_told(wire: Wire, asked: Interaction) -> bool:
    return bool(wire.wait(lambda: all_delivered(wire) or wire.heard(asked), 15))


@pytest.mark.parametrize("moment", [acknowledgement, acknowledged])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_a_command_in_the_midst_of_its_acknowledgement(
    wire: Wire, moment: Moment, number: signal.Signals
) -> None:
    """SIGINT does not wait: its user is told, unless the job is stored."""
    wire.start()
    asked = end_at(wire, moment, wire.imagine, number)
    assert kept_or_told(wire, asked), "lost without a word"
    assert not thinking(wire)
    assert not wire.errors(), wire.said()  # an orderly end is no fault


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_nobody_whose_job_is_stored_is_asked_to_ask_again(
    wire: Wire, number: signal.Signals
) -> None:
    """Whoever did would have it made twice."""
    wire.start()

    def first_card(call: Call, done: bool) -> bool:
        return call.method == "PATCH" and not done

    asked = end_at(wire, first_card, wire.imagine, number)
    wire.until(lambda: all_delivered(wire))
    assert not any("Ask again" in sentence for sentence in wire.heard(asked))
    assert len(wire.states()) == 1
    assert not wire.errors(), wire.said()


@pytest.mark.parametrize("button", ["reroll", "delete"])
def test_a_click_in_the_midst_of_its_acknowledgement(wire: Wire, button: str) -> None:
    wire.start()
    wire.imagine()
    wire.until(lambda: all_delivered(wire))
    (row,) = wire.query(
        "select g.id, path, message_id from generations g join jobs j on g.job_id = j.id"
    )

    def act() -> Interaction | None:
        return wire.discord.click(5_001, f"floor33:{button}:{row['id']}", row["message_id"])

    asked = end_at(wire, acknowledged, act)
    if button == "delete":
        kept = (wire.data / row["path"]).exists()
        assert (row["message_id"] in wire.discord.state.messages) is kept
        assert not kept or wire.heard(asked)
    else:
        wire.until(lambda: len(wire.states()) == 2 or wire.heard(asked))
        assert kept_or_told(wire, asked)
    assert not thinking(wire)
    assert not wire.errors(), wire.said()


def test_history_in_the_midst_of_its_acknowledgement(wire: Wire) -> None:
    wire.start()
    asked = end_at(wire, acknowledged, lambda: wire.discord.slash(5_001, "history"))
    assert wire.heard(asked)
    assert not wire.errors(), wire.said()


def test_the_thumbs_are_there_though_the_bot_was_killed_before_them(wire: Wire) -> None:
    wire.start()

    def reaction(call: Call, done: bool) -> bool:
        return "reactions" in call.path and not done

    asked = end_at(wire, reaction, wire.imagine, signal.SIGKILL)
    message = wire.discord.state.messages[asked.message_id or 0]
    wire.until(lambda: len(message.reactions) == 2)
    assert len(message.clips) == 1


def test_the_end_comes_though_discord_does_not_answer(
    tmp_path: Path, overrides: dict[str, Any]
) -> None:
    """The upload hangs: the bot ends after its grace, and the next one delivers."""
    with wired(tmp_path, overrides) as wire:
        config = tmp_path / "bot.toml"
        config.write_text(config.read_text().replace("[engine]", "[engine]\ngrace_s = 2"))
        wire.start()
        hung: list[Call] = []

        async def hang(call: Call, done: bool) -> int | None:
            if not done and has_clip(call):
                hung.append(call)
                await asyncio.sleep(60)
            return None

        wire.discord.hook(hang)
        wire.imagine()
        wire.until(lambda: hung)
        assert wire.bots.pid is not None
        os.kill(wire.bots.pid, signal.SIGTERM)
        wire.until(lambda: not wire.bots.alive, ENDED_S)
        wire.stopped()
        wire.discord.hook(None)
        wire.start()
        wire.until(lambda: all_delivered(wire))
        assert len([m for m in wire.discord.state.shown() if m.clip is not None]) == 1
        assert not wire.errors(), wire.said()


def test_no_command_is_taken_while_the_end_is_waited_for(wire: Wire) -> None:
    """Who asks meanwhile is told, and the clip that runs is finished."""
    wire.start()
    told: list[Interaction] = []
    wire.imagine(steps=60)
    wire.until(lambda: wire.states() == ["running"])
    assert wire.bots.pid is not None
    os.kill(wire.bots.pid, signal.SIGTERM)
    time.sleep(0.1)
    asked = wire.discord.slash(5_002, "imagine", prompt="a dog", steps=2)
    if asked is not None:
        told.append(asked)
    wire.until(lambda: not wire.bots.alive, ENDED_S)
    wire.stopped()
    wire.start()
    wire.until(lambda: all_delivered(wire))
    assert all(wire.heard(one) or len(wire.states()) == 2 for one in told)
    assert not wire.errors(), wire.said()
