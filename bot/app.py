"""The bot: what it owns, and how it starts and ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

import discord
from discord.ext import commands

from bot.commands import add_commands
from bot.commands.tree import OTHER_COMMAND, StudioTree
from bot.context import Services
from bot.jobs.client import StudioClient
from bot.jobs.clips import ClipActions
from bot.jobs.downloads import cap_downloads
from bot.jobs.pending import PendingJobs
from bot.jobs.service import JobService
from bot.lease import DataFolderLease
from bot.lifecycle.catch_up import CatchUp
from bot.lifecycle.events import EventReader
from bot.lifecycle.gateway import GatewayConnection
from bot.lifecycle.login import READING_ERRORS, AnswerUnreadableError
from bot.lifecycle.presence import StatusLine
from bot.lifecycle.servers import AllowedServers
from bot.lifecycle.sync_commands import register_commands, remove_all_copies
from bot.lifecycle.token_watch import TokenWatch
from bot.lifecycle.warmup import (
    learn_from_past,
    load_models,
    log_broken_models,
    show_warm_up,
)
from bot.messages.buttons import BUTTONS, is_known_button
from bot.messages.http_trace import HttpTrace
from bot.messages.text import MEGABYTE
from bot.messages.throttle import EditThrottle
from bot.messages.user_errors import (
    send_ephemeral,
    send_restarting,
    user_errors,
)
from bot.operations.metrics import Metrics
from bot.operations.service import Operations
from bot.operations.shutdown import Shutdown
from bot.settings import Settings
from bot.settings.engine import engine_settings, expansion_settings
from bot.store import DatabaseGoneError, Store, StoreError
from bot.tasks import TaskSupervisor
from engine.serving import Engine
from prompt_expansion import PromptExpander, make_expander

__all__ = [
    "EDIT_INTERVAL_S",
    "MAX_TIDIED",
    "OTHER_BUTTON",
    "OTHER_COMMAND",
    "RETRY_S",
    "CommandsOnlyBot",
    "Floor33Bot",
    "create_bot",
    "intents",
]

logger = logging.getLogger(__name__)

RETRY_S: Final = 5.0
_LOOK_S: Final = 5.0
_TELL_S: Final = 1.0
EDIT_INTERVAL_S: Final = 2.0
"""Discord allows about five edits in five seconds in a channel; several clips may be under way."""
_RATE_LIMIT_S: Final = 30.0


OTHER_BUTTON: Final = (
    "This button or form is of another version of the bot and does nothing any more. "
    "Use /imagine, /animate or /history instead."
)

MAX_TIDIED: Final = 25
"""So many servers are looked through for commands of their own at a start."""


class Floor33Bot(StudioClient):
    """The Discord client. It owns the store, the engine and the expander.

    They exist from `setup_hook` to `close`.
    """

    http_trace: HttpTrace
    throttle: EditThrottle
    expander: PromptExpander
    services: Services
    pending: PendingJobs

    def __init__(
        self,
        settings: Settings,
        *,
        edit_interval_s: float = EDIT_INTERVAL_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self.http_trace = HttpTrace()
        super().__init__(
            command_prefix=commands.when_mentioned,
            tree_cls=StudioTree,
            help_command=None,
            intents=intents(),
            allowed_mentions=discord.AllowedMentions.none(),
            http_trace=self.http_trace.config(),
            # A longer one is waited for by ourselves, with nothing held up by it.
            max_ratelimit_timeout=_RATE_LIMIT_S,
        )
        self.settings = settings
        self.background = TaskSupervisor()
        self.throttle = EditThrottle(edit_interval_s, retry_s)
        self.lease = DataFolderLease(settings.data_dir)
        self.metrics = Metrics()
        self.shutdown = Shutdown()
        self.operations = Operations(settings, self.metrics)
        self.token_watch = TokenWatch(self)
        self.failure: str | None = None
        self.events = EventReader(self, self.metrics)
        self.events.guard(self._connection.parsers)
        self.connection = GatewayConnection(self)
        self.status_line = StatusLine(self)
        self.catch_up = CatchUp(self)
        self._logged_in = self._tidied = False
        self._ended = False
        self._stepping_down: asyncio.Task[None] | None = None
        self._lost: DatabaseGoneError | None = None
        self.ended = asyncio.Event()

    async def login(self, token: str) -> None:
        """Log in, and set up what the bot owns.

        Raises:
            AnswerUnreadableError: Discord's answer is none of Discord's.
            discord.LoginFailure, discord.HTTPException: Discord refused.
        """
        try:
            await super().login(token)
        except READING_ERRORS as error:
            if self._logged_in:
                raise
            raise AnswerUnreadableError(type(error).__name__) from error

    def note_login(self) -> None:
        """Note that Discord has let the bot in: errors from here on are not the login's."""
        self._logged_in = True

    async def connect(self, *, reconnect: bool = True) -> None:
        """Stay connected to Discord's gateway until `close`. Raises as `GatewayConnection.run`."""
        await self.connection.run()

    async def setup_hook(self) -> None:
        """Open what the bot owns, and take up the jobs of the last run.

        Raises:
            StoreError, EngineSettingsError, ExpansionSettingsError, OperationsServerError: with
                one clear line.
        """
        self.note_login()
        self.background.open()
        self.store = await Store.open(self.settings.database_location, observer=self.metrics)
        await self.lease.acquire(self.store)
        self.engine = Engine(engine_settings(self.settings))
        self.expander = make_expander(expansion_settings(self.settings))
        self.services = services = Services(
            store=self.store,
            engine=self.engine,
            expander=self.expander,
            background=self.background,
            lease=self.lease,
            data_dir=self.settings.data_dir,
            metrics=self.metrics,
            shutdown=self.shutdown,
            throttle=self.throttle,
            weight_of=self.settings.queue.weight_of,
            clock_skew=lambda: self.http_trace.clock_skew,
        )
        self.jobs = JobService(self, self.settings, services)
        self.clips = ClipActions(self, services, self.jobs)
        self.pending = PendingJobs(services, self.jobs)
        cap_downloads(self.http, self.settings.limits.max_image_mb * MEGABYTE)
        self.add_dynamic_items(*BUTTONS)
        await add_commands(self)
        await self.add_cog(AllowedServers(self, self.settings))
        await register_commands(self.tree, self.settings.discord.dev_guild_id)
        await self.operations.start(
            self,
            self.store,
            self.engine,
            self.background,
            clock_skew=services.clock_skew,
            token_refused=lambda: self.token_watch.refused,
            ending=lambda: self.shutdown.begun or self.is_closed(),
        )
        resumed = await self.pending.load()
        if resumed:
            logger.info("%d unfinished jobs of the last run are back in the queue", resumed)
        self.background.submit(self._begin)
        self.background.submit(self._watch_database)

    async def _begin(self) -> None:
        """Do what takes its time at a start; one step that fails does not keep the others."""
        steps: tuple[Callable[[], Awaitable[None]], ...] = (
            lambda: log_broken_models(self.engine),
            lambda: learn_from_past(self.engine, self.store),
            lambda: load_models(self.engine, self.settings),
            self.catch_up.look_at_waiting,
            self.pending.resume,
            lambda: show_warm_up(self),
        )
        for step in steps:
            try:
                await step()
            except StoreError as error:
                if self.lost_database() is not None:
                    return
                logger.error("a step of the start failed: %s", error)
            except Exception:  # the boundary of a step
                logger.exception("a step of the start failed")

    def still_in_charge(self) -> bool:
        """Return whether this bot still works on its data folder.

        It ends if another has taken over, or if the folder or the database in it is gone.
        """
        if self.lost_database() is not None:
            return False
        if self.lease.is_held():
            return True
        self._step_down(f"another bot works on {self.settings.data_dir}: this one ends")
        return False

    def fail(self, reason: str) -> None:
        """End the bot, with exit code 1 and this one line, for a fault that only operators mend."""
        if self.failure is None:
            self.failure = reason
        self._step_down(reason)

    def _step_down(self, reason: str) -> None:
        if self._stepping_down is None:
            logger.error("%s", reason)
            self._stepping_down = asyncio.create_task(self.close())

    async def may_answer(self, interaction: discord.Interaction) -> bool:
        """Return whether the interaction is this bot's to carry out.

        Another bot that has taken over answers by itself. Where the database is gone, the user is
        told.
        """
        if (lost := self.lost_database()) is not None:
            await send_ephemeral(interaction, lost.for_users)
            return False
        return self.still_in_charge()

    def lost_database(self) -> DatabaseGoneError | None:
        """Return why nothing can be kept any more; the bot ends for its service manager to see."""
        if self._lost is None:
            try:
                self.lease.check_folder()
                self.store.check_present()
            except DatabaseGoneError as error:
                logger.error("%s; the bot ends", error)
                self._lost, self.failure = error, str(error)
                self._stepping_down = asyncio.create_task(self._end_soon())
        return self._lost

    async def _end_soon(self) -> None:
        try:
            if await self.store.rescue():
                logger.error("database %s: written back to its place", self.store.name)
        except (StoreError, OSError) as error:
            logger.error("the database could not be written back: %s", error)
        await asyncio.sleep(_TELL_S)  # whoever asked can be told meanwhile
        await self.close()

    async def _watch_database(self) -> None:
        # Nobody tells when a file is taken away.
        while self.lost_database() is None:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)

    @property
    def studio(self) -> JobService:
        """The earlier name of `jobs`."""
        return self.jobs

    async def on_ready(self) -> None:
        """Say who and where we are; may be called many times."""
        count = len(self.guilds)
        servers_are = "1 server" if count == 1 else f"{count} servers"
        logger.info("logged in as %s, in %s", self.user, servers_are)
        self.background.submit(self.catch_up.run)
        if not self._tidied:
            self._tidied = True
            servers = [guild.id for guild in self.guilds[:MAX_TIDIED]]
            self.background.submit(lambda: remove_all_copies(self.tree, servers))

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        """Answer buttons and forms that this version does not know: they stay on messages."""
        kinds = (discord.InteractionType.component, discord.InteractionType.modal_submit)
        if interaction.type not in kinds or not self.still_in_charge():
            return
        data = cast("Mapping[str, Any]", interaction.data or {})
        if not is_known_button(data.get("custom_id")):
            async with user_errors(interaction):
                await send_ephemeral(interaction, OTHER_BUTTON)

    async def on_token_refused(self) -> None:
        """Have an operator know; dispatched by `bot.messages.answers.call`."""
        self.token_watch.note_refusal()

    async def on_message(self, message: discord.Message, /) -> None:
        """There are no commands in messages."""

    async def drain(self) -> None:
        """Before `close`: take no more work, and finish what runs, if it is done soon."""
        if hasattr(self, "jobs"):
            grace_s = self.settings.engine.grace_s
            await self.shutdown.drain(self.engine, self.store, grace_s)

    async def close(self) -> None:
        """End everything, what depends on others first. A second call waits for the first."""
        if self._ended:
            await self.ended.wait()
            return
        self._ended = True
        try:
            await self._close()
        finally:
            self.ended.set()

    async def _close(self) -> None:
        self.connection.stop()
        await self.operations.close()
        await self.shutdown.dismiss(send_restarting)
        # From here on nothing is shown or recorded: unfinished jobs wait for the next start.
        await self.background.close()
        self._cancel_ready()
        await super().close()
        if hasattr(self, "engine"):
            await self.engine.close()
        if hasattr(self, "expander"):
            await self.expander.close()
        if hasattr(self, "store"):
            await self.store.close()

    def _cancel_ready(self) -> None:
        """Cancel what discord.py does two seconds after a session has begun, which it forgets."""
        if (task := self._connection._ready_task) is not None:
            task.cancel()


class CommandsOnlyBot(Floor33Bot):
    """The bot's commands without anything behind them."""

    async def setup_hook(self) -> None:
        """Add the commands."""
        self.note_login()
        await add_commands(self)


def intents() -> discord.Intents:
    """Return the bot's intents: servers, its messages' deletion, reactions. None is privileged."""
    return discord.Intents(
        guilds=True,
        guild_messages=True,
        guild_reactions=True,
        dm_messages=True,
        dm_reactions=True,
    )


def create_bot(
    settings: Settings,
    *,
    edit_interval_s: float = EDIT_INTERVAL_S,
    retry_s: float = RETRY_S,
) -> Floor33Bot:
    """A bot ready for `start(token)`; nothing is opened before that.

    `edit_interval_s` is the least time between two edits of one message, `retry_s` that after
    which a clip is sent again when Discord was out of order; both in seconds.
    """
    return Floor33Bot(settings, edit_interval_s=edit_interval_s, retry_s=retry_s)
