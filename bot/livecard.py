"""One message that changes while a job goes on, within what Discord allows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Final

import aiohttp
import discord

from bot.background import Background
from bot.cards import Card, CardFile
from bot.delivery import CardMessage, Place, TooLarge

logger = logging.getLogger(__name__)

TRANSIENT: Final = (discord.HTTPException, aiohttp.ClientError, OSError)
"""What `CardMessage.show` raises while Discord is out of order."""

_PAUSES_S: Final = (5.0, 30.0, 120.0)


class LiveCard:
    """Shows the newest state, at most one edit at a time and one in `interval_s` seconds.

    Args:
        background: runs the edits that are put off.
        message: where the card is.
        interval_s: least time between two edits.
        render: makes the card of the present state.
        state: tells states apart, so that nothing is shown twice or forgotten.
    """

    def __init__(
        self,
        background: Background,
        message: CardMessage,
        interval_s: float,
        *,
        render: Callable[[], Card],
        state: Callable[[], Hashable],
    ) -> None:
        self._background = background
        self._message = message
        self._interval_s = interval_s
        self._render = render
        self._state = state
        self._editing = asyncio.Lock()
        self._edited_at = float("-inf")
        self._shown: Hashable = None
        self._put_off: Callable[[], None] | None = None
        self._concluded = False
        self._files: tuple[CardFile, ...] | None = ()

    async def refresh(self) -> None:
        """Show the present state now or soon; troubles are logged, the next edit may do better."""
        while not (self._concluded or self._editing.locked() or self._put_off is not None):
            # Otherwise the edit that is under way or put off looks at the state again.
            wait = self._edited_at + self._interval_s - time.perf_counter()
            if wait > 0:
                self._put_off = self._background.submit_later(wait, self._due)
                return
            async with self._editing:
                self._shown = self._state()
                await self._show(self._render())
                self._edited_at = time.perf_counter()
            if self._state() == self._shown:
                return

    async def conclude(self, card: Card) -> Place | None:
        """Show the last card, whatever it takes: Discord may be out of order for minutes.

        Raises:
            Undeliverable, TooLarge: as `CardMessage.show`.
            discord.HTTPException, aiohttp.ClientError, OSError: Discord stayed out of order.
        """
        self._concluded = True
        if self._put_off is not None:
            self._put_off()
            self._put_off = None
        for pause in _PAUSES_S:
            try:
                return await self._show_last(card)
            except TRANSIENT as error:
                if not _may_pass(error):
                    raise
                logger.warning("trying again in %g s: %s", pause, error)
                await asyncio.sleep(pause)
        return await self._show_last(card)

    async def seed_reactions(self, *emoji: str) -> None:
        """As `CardMessage.seed_reactions`; troubles are logged."""
        try:
            await self._message.seed_reactions(*emoji)
        except TRANSIENT as error:
            logger.warning("no reactions: %s", error)

    async def _show(self, card: Card) -> None:
        files = card.files
        if files == self._files:
            card = replace(card, files=None)  # a picture that is there is not sent again
        try:
            place = await self._message.show(card)
        except (*TRANSIENT, TooLarge) as error:
            logger.info("progress was not shown: %s", error)
            return
        if place is not None:
            self._files = files

    async def _show_last(self, card: Card) -> Place | None:
        async with self._editing:
            return await self._message.show(card, final=True)

    async def _due(self) -> None:
        self._put_off = None
        await self.refresh()


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, discord.HTTPException):
        return error.status >= 500 or error.status == 429
    return True
