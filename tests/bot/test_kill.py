"""The bot is killed at random moments, a hundred times if wanted: nothing is lost or doubled.

``FLOOR33_KILLS`` says how often, ``FLOOR33_KILL_SEED`` with which seed.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.store import JobState
from tests.bot.test_command_line import toml
from tests.loopback_discord import Call, LoopbackDiscord
from tests.loopback_discord.process import BotProcesses
from tests.loopback_discord.state import EPHEMERAL, Interaction

KILLS = int(os.environ.get("FLOOR33_KILLS", "8"))
SEED = int(os.environ.get("FLOOR33_KILL_SEED", "33"))
PATIENCE_S = 120.0
USERS = range(5_001, 5_006)
MOMENTS = ("callback", "messages", "attachment", "reactions")
"""Calls in whose midst the bot is killed, beside moments that are drawn by the clock."""


@dataclass
class Story:
    """What was asked and what was seen at each kill."""

    asked: list[Interaction] = field(default_factory=list)
    rendered: dict[str, tuple[int, str]] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)


class Chaos:
    """Asks for clips and kills the bot, by one random generator."""

    def __init__(self, discord: LoopbackDiscord, bots: BotProcesses, database: Path) -> None:
        self.discord, self.bots, self.database = discord, bots, database
        self.random = random.Random(SEED)
        self.story = Story()

    def query(self, sql: str) -> list[dict[str, Any]]:
        if not self.database.exists():
            return []
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in connection.execute(sql)]
            except sqlite3.OperationalError:  # killed before the tables were made
                return []

    def ask(self) -> None:
        """Some users type commands; the same seed and prompt comes again and again."""
        for _ in range(self.random.choice((1, 1, 2))):
            user, seed = self.random.choice(USERS), self.random.randrange(3)
            options = {"prompt": f"a cat {seed}", "seed": seed, "steps": self.random.choice((2, 3))}
            made = self.discord.slash(user, "imagine", **options)
            if made is not None:
                self.story.asked.append(made)

    def kill_at_random(self) -> None:
        """Run a bot for a moment, then kill it: by the clock, or in the midst of a call."""
        moment = self.random.choice((*MOMENTS, "clock", "clock"))
        done, delay = self.random.random() < 0.5, self.random.uniform(0.0, 3.0)
        struck = False

        async def strike(call: Call, is_done: bool) -> None:
            nonlocal struck
            if not struck and is_done == done and _is(call, moment):
                struck = True
                self.bots.strike()

        self.discord.hook(strike if moment != "clock" else None)
        self.bots.start()
        if moment != "clock" or self.random.random() < 0.7:
            self.discord.wait_ready(PATIENCE_S)
            self.ask()
        deadline = time.monotonic() + (delay if moment == "clock" else 20.0)
        while self.bots.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        self.discord.hook(None)
        self.bots.kill()
        self.story.kills[moment if struck or moment == "clock" else "clock"] += 1
        self.look()

    def look(self) -> None:
        """Remember the clips that are there: they must not be made again."""
        rows = self.query(
            "select j.id, attempts, g.id as clip from jobs j join generations g on job_id = j.id"
        )
        for row in rows:
            known = self.story.rendered.setdefault(row["id"], (row["attempts"], row["clip"]))
            assert known == (row["attempts"], row["clip"]), "a clip was rendered again"


def _is(call: Call, moment: str) -> bool:
    if moment == "attachment":
        return any(name.endswith(".mp4") for name in call.files)
    return moment in call.path


@pytest.fixture
def chaos(tmp_path: Path, overrides: dict[str, Any]) -> Iterator[Chaos]:
    config = tmp_path / "bot.toml"
    config.write_text(toml(overrides) + "[limits]\nmax_active_jobs_per_user = 1000\n")
    database = Path(overrides["data_dir"]) / "floor33.db"
    with LoopbackDiscord() as discord, BotProcesses(discord, config, tmp_path / "log") as bots:
        yield Chaos(discord, bots, database)


def test_nothing_is_lost_and_nothing_doubled(chaos: Chaos, tmp_path: Path) -> None:
    for _ in range(KILLS):
        chaos.kill_at_random()

    chaos.bots.start()
    unfinished = "select id from jobs where state not in ('delivered', 'failed', 'cancelled')"
    chaos.discord.wait_ready(PATIENCE_S)
    chaos.discord.until(lambda: not chaos.query(unfinished), PATIENCE_S)
    chaos.look()

    jobs = chaos.query("select * from jobs order by created_at")
    print(f"{KILLS} kills {dict(chaos.story.kills)}, {len(jobs)} jobs")  # shown with -s
    assert Counter(job["state"] for job in jobs) == {JobState.DELIVERED.value: len(jobs)}, (
        tmp_path / "log"
    ).read_text()[-4000:]
    promised = {
        i.message_id
        for i in chaos.story.asked
        if i.message_id is not None and _has_card(chaos, i.message_id)
    }
    assert promised <= {job["message_id"] for job in jobs}, "an accepted job was lost"

    # Every clip is on one message, which is the one that the store knows; no message has two.
    shown = {m.id: m for m in chaos.discord.state.messages.values() if m.clip is not None}
    assert sorted(shown) == sorted(job["message_id"] for job in jobs)
    for job in jobs:
        clip = shown[job["message_id"]].clip
        assert clip is not None
        assert clip.name == f"floor33-{job['id'][:12]}.mp4"
        assert set(shown[job["message_id"]].clips) == {clip.name}

    # The same seed and settings are the same clip, however often it was begun.
    looks: dict[tuple[int, int], set[str]] = {}
    for job in jobs:
        clip = shown[job["message_id"]].clip
        assert clip is not None
        looks.setdefault((job["seed"], job["steps"]), set()).add(clip.digest)
    assert all(len(digests) == 1 for digests in looks.values()), json.dumps(
        {str(key): sorted(value) for key, value in looks.items()}
    )
    assert len({next(iter(digests)) for digests in looks.values()}) == len(looks)


def _has_card(chaos: Chaos, message_id: int) -> bool:
    """Whether the bot has shown a job there, not only that it is thinking."""
    message = chaos.discord.state.messages.get(message_id)
    return message is not None and bool(message.embeds) and not message.flags & EPHEMERAL
