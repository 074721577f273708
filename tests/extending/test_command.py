"""A slash command is one file in bot/commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import bot.commands
from bot.settings import Settings
from tests.bot.conftest import make_world

# isort: split
# [example]
import asyncio

import discord
from discord import app_commands
from discord.ext import commands

from bot.messages.user_errors import send_ephemeral, user_errors
from bot.protocols import BotClient


class ModelCommands(commands.Cog):
    """Tells which models this bot has."""

    def __init__(self, bot: BotClient) -> None:
        self._bot = bot

    @app_commands.command(name="models", description="The models that make your clips")
    async def models(self, interaction: discord.Interaction[BotClient]) -> None:
        """Answer the user alone."""
        async with user_errors(interaction):
            cards = await asyncio.to_thread(self._bot.engine.models)
            lines = [f"{card.name}: {card.task}" for card in cards if card.ready]
            await send_ephemeral(interaction, "\n".join(lines))


async def setup(bot: BotClient) -> None:
    """Add the command."""
    await bot.add_cog(ModelCommands(bot))


# [/example]


@pytest.fixture
def dropped_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example as the file models.py of the package."""
    text = Path(__file__).read_text("utf-8")
    example = text.split("# [example]\n")[1].split("# [/example]")[0]
    (tmp_path / "models.py").write_text(f"from __future__ import annotations\n\n{example}")
    monkeypatch.setattr(bot.commands, "__path__", [*bot.commands.__path__, str(tmp_path)])
    monkeypatch.setitem(sys.modules, "bot.commands.models", None)
    monkeypatch.delitem(sys.modules, "bot.commands.models")


@pytest.mark.usefixtures("dropped_in")
async def test_a_file_in_the_package_is_a_command(overrides: dict[str, Any]) -> None:
    async with make_world(Settings.load(overrides=overrides)) as world:
        result = await world.alice.slash(world.channel, "models")
        assert result.response.ephemeral
        assert "tiny-t2v: text-to-video" in result.response.content
        await world.imagine("a cat", steps=1)
