"""The graceful shutdown: nothing new is begun, what is nearly done is finished."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import discord

from bot.store import Store, StoreError
from engine.serving import Engine

logger = logging.getLogger(__name__)

RESTARTING: Final = "The bot is being restarted. Ask again in a minute."
_LOOK_S: Final = 0.2
_LAST_WORDS_S: Final = 5.0


class Shutdown:
    """Knows the interactions in hand, whether the end has been announced, and waits before it.

    Attributes:
        begun: no new work is taken any more.
    """

    def __init__(self) -> None:
        self.begun = False
        self._in_hand: dict[asyncio.Task[object], discord.Interaction] = {}
        self._kept: set[asyncio.Task[object]] = set()
        self._last_words = 0

    @contextlib.contextmanager
    def in_hand(self, interaction: discord.Interaction) -> Iterator[None]:
        """Count the interaction as unanswered while the block runs in the present task."""
        task = asyncio.current_task()
        assert task is not None
        self._in_hand[task] = interaction
        try:
            yield
        finally:
            del self._in_hand[task]
            self._kept.discard(task)

    def note_kept(self) -> None:
        """Note that what the present task was asked for is stored: a restart does not lose it."""
        if (task := asyncio.current_task()) in self._in_hand:
            self._kept.add(task)

    @contextlib.contextmanager
    def last_words(self) -> Iterator[None]:
        """Count a job whose end is recorded and still to be shown."""
        self._last_words += 1
        try:
            yield
        finally:
            self._last_words -= 1

    async def drain(self, engine: Engine, store: Store, grace_s: float) -> bool:
        """Start no more jobs; wait for interactions to be answered and running jobs to be done.

        Returns:
            Whether they all were within `grace_s` seconds. Jobs that were not are done by the next
            start.
        """
        self.begun = True
        engine.hold()
        if grace_s <= 0:
            return False
        try:
            async with asyncio.timeout(grace_s):
                # Other tasks, and the engine's threads, move them on.
                while (  # noqa: ASYNC110
                    self._in_hand or self._last_words or await store.count_active_jobs()
                ):
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            logger.warning("a clip is not done after %g s; it is left to the next start", grace_s)
            return False
        except StoreError as error:
            logger.error("not waited for what runs: %s", error)
            return False
        return True

    async def dismiss(self, tell: Callable[[discord.Interaction], Awaitable[None]]) -> None:
        """End the interactions that are still in hand.

        Args:
            tell: asks the user of one to ask again; called for those that a restart forgets.
        """
        left, own = dict(self._in_hand), asyncio.current_task()
        left.pop(own, None)  # type: ignore[arg-type]  # a command that ends the bot
        if not left:
            return
        forgotten = [asked for task, asked in left.items() if task not in self._kept]
        for task in left:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                await asyncio.gather(*left, return_exceptions=True)
                await asyncio.gather(*map(tell, forgotten), return_exceptions=True)
