"""The bot: what it owns, and how it starts and ends."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import discord
from discord import app_commands
from discord.ext import commands

from bot.background import Background
from bot.commands.animate import Animate
from bot.commands.imagine import Imagine
from bot.engine_settings import engine_settings, expansion_settings
from bot.errors import report, tell
from bot.ownership import Ownership
from bot.ratings import Ratings
from bot.registration import register_commands
from bot.services import Services
from bot.settings import Settings
from bot.store import Store
from bot.studio import Studio
from bot.views import BUTTONS
from engine.serving import Engine
from prompt_expansion import PromptExpander, make_expander

logger = logging.getLogger(__name__)

EDIT_INTERVAL_S: Final = 2.0
"""Discord allows about five edits in five seconds in a channel; several clips may be under way."""


class _Tree(app_commands.CommandTree["Floor33Bot"]):
    """The commands, with one place for whatever their callbacks raise."""

    async def interaction_check(self, interaction: discord.Interaction[Floor33Bot], /) -> bool:
        """Leave the answer to the bot that has taken over, if one has."""
        return interaction.client.still_in_charge()

    async def on_error(
        self, interaction: discord.Interaction[Floor33Bot], error: app_commands.AppCommandError
    ) -> None:
        """Tell the user, and log what is our fault."""
        if isinstance(error, (app_commands.CheckFailure, app_commands.TransformerError)):
            await tell(interaction, str(error))
            return
        await report(interaction, getattr(error, "original", error))


class Floor33Bot(commands.Bot):
    """The Discord client. It owns the store, the engine and the expander.

    They exist from `setup_hook` to `close`.
    """

    store: Store
    engine: Engine
    expander: PromptExpander
    studio: Studio

    def __init__(self, settings: Settings, *, edit_interval_s: float = EDIT_INTERVAL_S) -> None:
        super().__init__(
            command_prefix=commands.when_mentioned,
            tree_cls=_Tree,
            help_command=None,
            intents=intents(),
            allowed_mentions=discord.AllowedMentions.none(),
        )
        self.settings = settings
        self.background = Background()
        self._edit_interval_s = edit_interval_s
        self.ownership = Ownership(settings.data_dir)
        self._ended = False
        self._stepping_down: asyncio.Task[None] | None = None

    async def setup_hook(self) -> None:
        """Open what the bot owns, and take up the jobs of the last run.

        Raises:
            StoreError, EngineSettingsError, ExpansionSettingsError: with one clear line.
        """
        self.background.open()
        self.store = await Store.open(self.settings.database_path)
        self.ownership.take()
        self.engine = Engine(engine_settings(self.settings))
        self.expander = make_expander(expansion_settings(self.settings))
        services = Services(
            store=self.store,
            engine=self.engine,
            expander=self.expander,
            background=self.background,
            ownership=self.ownership,
            data_dir=self.settings.data_dir,
            edit_interval_s=self._edit_interval_s,
        )
        self.studio = Studio(self, self.settings, services)
        self.add_dynamic_items(*BUTTONS)
        await self.add_commands()
        await self.add_cog(Ratings(self))
        await register_commands(self.tree, self.settings.discord.dev_guild_id)
        self.background.submit(self._look_at_models)
        resumed = await self.studio.resume()
        if resumed:
            logger.info("%d unfinished jobs of the last run are back in the queue", resumed)

    async def _look_at_models(self) -> None:
        # The first look reads the weight files; nobody who types a command shall wait for that.
        for card in await asyncio.to_thread(self.engine.models):
            if card.installed and not card.ready:
                logger.warning("model %s is not ready: %s", card.name, card.problem)

    def still_in_charge(self) -> bool:
        """Whether this bot still works on its data folder; it ends if another has taken over."""
        if self.ownership.held():
            return True
        if self._stepping_down is None:
            logger.error("another bot works on %s: this one ends", self.settings.data_dir)
            self._stepping_down = asyncio.create_task(self.close())
        return False

    async def add_commands(self) -> None:
        """Put the slash commands into the tree."""
        await self.add_cog(Imagine(self))
        await self.add_cog(Animate(self))

    async def on_ready(self) -> None:
        """Say who and where we are; may be called many times."""
        logger.info("logged in as %s, in %d servers", self.user, len(self.guilds))

    async def on_message(self, message: discord.Message, /) -> None:
        """There are no commands in messages."""

    async def close(self) -> None:
        """End everything, what depends on others first. May be called again."""
        if not self._ended:
            self._ended = True
            # From here on nothing is shown or recorded: unfinished jobs wait for the next start.
            await self.background.close()
            await super().close()
            if hasattr(self, "engine"):
                await self.engine.close()
            if hasattr(self, "expander"):
                await self.expander.close()
            if hasattr(self, "store"):
                await self.store.close()
        await super().close()


def intents() -> discord.Intents:
    """What the bot hears of: servers, its messages' deletion, reactions. Nothing privileged."""
    return discord.Intents(
        guilds=True,
        guild_messages=True,
        guild_reactions=True,
        dm_messages=True,
        dm_reactions=True,
    )


def create_bot(settings: Settings, *, edit_interval_s: float = EDIT_INTERVAL_S) -> Floor33Bot:
    """A bot ready for `start(token)`; nothing is opened before that.

    `edit_interval_s` is the least time between two edits of one message, in seconds.
    """
    return Floor33Bot(settings, edit_interval_s=edit_interval_s)
