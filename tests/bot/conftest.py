"""The real bot in a simulated Discord, with tiny models, a real database and real ffmpeg."""

from __future__ import annotations

import asyncio
import contextlib
import io
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import discord
import pytest
import simcord
from PIL import Image

from bot.app import RETRY_S, Floor33Bot, create_bot
from bot.settings import Settings
from bot.settings.load import CONFIG_VARIABLE, VARIABLES
from tests.engine.conftest import write_tiny_model

PATIENCE_S = 60.0


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models tiny-t2v and tiny-i2v; tests that damage one take a copy."""
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder / "tiny-t2v", with_image=False)
    write_tiny_model(folder / "tiny-i2v", with_image=True)
    return folder


@pytest.fixture
def overrides(tmp_path: Path, models: Path) -> dict[str, Any]:
    """Settings of a test; change them before the world is made."""
    return {
        "data_dir": str(tmp_path / "data"),
        "engine": {"devices": ["cpu"], "threads": 1},
        "models": {
            "text_to_video": "tiny-t2v",
            "image_to_video": "tiny-i2v",
            "extra": {name: str(models / name) for name in ("tiny-t2v", "tiny-i2v")},
        },
    }


@dataclass
class World:
    """A server with a channel, three people and the bot."""

    env: simcord.Env
    bot: Floor33Bot
    settings: Settings
    guild: Any
    channel: Any
    alice: Any
    bob: Any
    moderator: Any

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait in real time for what the bot's threads bring about, and return it."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while not (found := condition()):
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError("it did not happen\n" + self.env.transcript()[-4000:])
            await asyncio.sleep(0.01)
        await self.env.settle()
        return found

    def message(self, message_id: int) -> discord.Message | None:
        return next((m for m in self.channel.history() if m.id == message_id), None)

    def messages(self) -> list[discord.Message]:
        return list(self.channel.history())

    async def clip(self, message_id: int) -> discord.Message:
        """The message, once it shows a finished clip with both thumbs under it."""

        def done() -> discord.Message | None:
            found = self.message(message_id)
            ready = found and any(a.filename.endswith(".mp4") for a in found.attachments)
            return found if ready and len(found.reactions) == 2 else None

        found: discord.Message = await self.until(done)
        delivered = "select 1 from jobs where message_id = ? and state = 'delivered'"
        await self.until(lambda: self.query(delivered, message_id))
        return found

    async def imagine(self, prompt: str = "a cat", **options: Any) -> discord.Message:
        result = await self.alice.slash(self.channel, "imagine", prompt=prompt, **options)
        assert result.response is not None
        return await self.clip(result.response.id)

    def query(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        with contextlib.closing(sqlite3.connect(self.settings.database_path)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(sql, values)]

    def execute(self, sql: str, *values: Any) -> None:
        """Change the database behind the bot's back."""
        with contextlib.closing(sqlite3.connect(self.settings.database_path)) as database:
            database.execute(sql, values)
            database.commit()


@contextlib.asynccontextmanager
async def make_world(
    settings: Settings, *, edit_interval_s: float = 0.0, retry_s: float = RETRY_S
) -> AsyncIterator[World]:
    bot = create_bot(settings, edit_interval_s=edit_interval_s, retry_s=retry_s)
    # Patient, since tests may run on a machine that is busy with something else.
    env = simcord.Env(bot, settle_timeout=PATIENCE_S)
    await env.start()
    guild = env.create_guild()
    channel = guild.create_text_channel("clips")
    moderators = guild.create_role(
        "Moderators", permissions=discord.Permissions(manage_messages=True)
    )
    world = World(
        env=env,
        bot=bot,
        settings=settings,
        guild=guild,
        channel=channel,
        alice=guild.add_member(env.create_user("alice")),
        bob=guild.add_member(env.create_user("bob")),
        moderator=guild.add_member(env.create_user("moderator"), roles=[moderators]),
    )
    try:
        yield world
    finally:
        await world.bot.close()
        await env.shutdown()
    env.raise_errors()


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No bot.toml, token or data folder of the person who runs the tests."""
    for name in (CONFIG_VARIABLE, *VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
async def world(overrides: dict[str, Any]) -> AsyncIterator[World]:
    async with make_world(Settings.load(overrides=overrides)) as made:
        yield made


def picture(kind: str = "PNG", size: tuple[int, int] = (60, 40), **save: Any) -> bytes:
    """An encoded picture with some content."""
    image = Image.radial_gradient("L").resize(size).convert("RGB")
    file = io.BytesIO()
    image.save(file, kind, **save)
    return file.getvalue()
