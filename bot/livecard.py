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
from bot.operations.metrics import Metrics
from bot.pace import EditPace

logger = logging.getLogger(__name__)

TRANSIENT: Final = (discord.HTTPException, aiohttp.ClientError, OSError)
"""What `CardMessage.show` raises while Discord is out of order."""


class LiveCard:
    """Shows the newest state, at most one edit at a time and no more often than `pace` allows.

    Args:
        background: runs the edits that are put off.
        message: where the card is.
        pace: tells the least time between two edits, and when to try again.
        metrics: counts the edits.
        channel_id: that of the message.
        render: makes the card of the present state.
        state: tells states apart, so that nothing is shown twice or forgotten.
    """

    def __init__(
        self,
        background: Background,
        message: CardMessage,
        pace: EditPace,
        metrics: Metrics,
        channel_id: int,
        *,
        render: Callable[[], Card],
        state: Callable[[], Hashable],
    ) -> None:
        self._background = background
        self._message = message
        self._pace = pace
        self._metrics = metrics
        self._channel_id = channel_id
        pace.enter(channel_id)
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
            interval = self._pace.interval_s(self._channel_id)
            wait = self._edited_at + interval - time.perf_counter()
            if wait > 0:
                self._put_off = self._background.submit_later(wait, self._due)
                return
            async with self._editing:
                self._shown = self._state()
                await self._show(self._render())
                self._edited_at = time.perf_counter()
            if self._state() == self._shown:
                return

    async def conclude(self, card: Card, *, patient: bool = False) -> Place | None:
        """Show the last card: Discord may be out of order for minutes.

        Args:
            card: what stays.
            patient: try for as long as it takes; otherwise for some minutes.

        Raises:
            Undeliverable, TooLarge: as `CardMessage.show`.
            discord.HTTPException, aiohttp.ClientError, OSError: Discord refused for good, or
                stayed out of order.
        """
        self._end()
        for pause in self._pace.pauses(patient=patient):
            try:
                return await self._show_last(card)
            except TRANSIENT as error:
                if not _may_pass(error):
                    raise
                answered = isinstance(error, discord.HTTPException)
                self._metrics.upload_retried("server_error" if answered else "network")
                logger.warning("trying again in %g s: %s", pause, error)
                await asyncio.sleep(pause)
        return await self._show_last(card)

    def leave(self) -> None:
        """Show nothing more; what stands there stays."""
        self._end()

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
            self._metrics.discord_edited("failed")
            return
        self._metrics.discord_edited("refused" if place is None else "done")
        if place is not None:
            self._files = files

    async def _show_last(self, card: Card) -> Place | None:
        async with self._editing:
            place = await self._message.show(card, final=True)
        self._metrics.discord_edited()
        return place

    def _end(self) -> None:
        if not self._concluded:
            self._concluded = True
            self._pace.leave(self._channel_id)
        if self._put_off is not None:
            self._put_off()
            self._put_off = None

    async def _due(self) -> None:
        self._put_off = None
        await self.refresh()


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, discord.HTTPException):
        return error.status >= 500 or error.status == 429
    return True
