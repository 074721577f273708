"""One message that changes while a job goes on, within what Discord allows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Final

from bot.messages.answers import (
    DiscordRefusedError,
    DiscordUnavailableError,
)
from bot.messages.card_fields import MessageRef
from bot.messages.cards import Card, CardFile
from bot.messages.job_message import JobMessage
from bot.messages.throttle import EditThrottle
from bot.operations.metrics import Metrics
from bot.tasks import TaskSupervisor

logger = logging.getLogger(__name__)

_ABANDON_S: Final = 2.0
"""Seconds that a progress edit under way may hold up the last card."""


class ProgressMessage:
    """Shows the newest state, at most one edit at a time and no more often than `throttle` allows.

    Args:
        background: runs the edits that are put off.
        message: where the card is.
        throttle: tells the least time between two edits, and when to try again.
        metrics: counts the edits.
        channel_id: that of the message.
        render: makes the card of the present state.
        state: tells states apart, so that nothing is shown twice or forgotten.
    """

    def __init__(
        self,
        background: TaskSupervisor,
        message: JobMessage,
        throttle: EditThrottle,
        metrics: Metrics,
        channel_id: int,
        *,
        render: Callable[[], Card],
        state: Callable[[], Hashable],
    ) -> None:
        self._background = background
        self._message = message
        self._throttle = throttle
        self._metrics = metrics
        self._channel_id = channel_id
        throttle.enter(channel_id)
        self._render = render
        self._state = state
        self._editing = asyncio.Lock()
        self._edit: asyncio.Task[None] | None = None
        self._next_edit_at = float("-inf")
        self._shown: Hashable = None
        self._put_off: Callable[[], None] | None = None
        self._concluded = False
        # Where an edit was refused the next one will be, too: only a last card finds another way.
        self._closed = False
        self._files: tuple[CardFile, ...] | None = ()

    async def refresh(self) -> None:
        """Show the present state now or soon; what Discord gives no answer to is shown again."""
        while not (
            self._concluded or self._closed or self._editing.locked() or self._put_off is not None
        ):
            # Otherwise the edit that is under way or put off looks at the state again.
            wait = self._next_edit_at - time.perf_counter()
            if wait > 0:
                self._put_off = self._background.submit_later(wait, self._due)
                return
            async with self._editing:
                self._shown = self._state()
                await self._abandonable(self._render())
                interval_s = self._throttle.interval_s(self._channel_id)
                self._next_edit_at = max(self._next_edit_at, time.perf_counter() + interval_s)
            if self._state() == self._shown:
                return

    async def conclude(
        self,
        card: Card,
        *,
        patient: bool = False,
        on_wait: Callable[[float], None] | None = None,
    ) -> MessageRef | None:
        """Show the last card: Discord may be out of order for minutes.

        Args:
            card: what stays.
            patient: try for as long as it takes; otherwise for some minutes.
            on_wait: called with the seconds of each pause before it.

        Raises:
            UndeliverableError, UploadTooLargeError, OSError: as `JobMessage.show`.
            DiscordUnavailableError: Discord stayed out of order.
        """
        self._end()
        await self._abandon_edit()
        for interval_s in self._throttle.retries_s(patient=patient):
            try:
                return await self._show_last(card)
            except DiscordUnavailableError as error:
                pause = max(interval_s, error.retry_after_s)
                self._metrics.upload_retried("server_error")
                logger.warning("trying again in %g s: %s", pause, error)
            if on_wait is not None:
                on_wait(pause)
            await asyncio.sleep(pause)
        return await self._show_last(card)

    def leave(self) -> None:
        """Show nothing more; what stands there stays."""
        self._end()

    async def _abandonable(self, card: Card) -> None:
        """Show progress in a task of its own, which `conclude` can give up."""
        self._edit = asyncio.create_task(self._show(card))
        try:
            await asyncio.wait({self._edit})
        finally:
            self._edit.cancel()
        if not self._edit.cancelled():
            self._edit.result()

    async def _abandon_edit(self) -> None:
        if self._edit is not None and not self._edit.done():
            await asyncio.wait({self._edit}, timeout=_ABANDON_S)
            self._edit.cancel()
            await asyncio.wait({self._edit})

    async def _show(self, card: Card) -> None:
        files = card.files
        if files == self._files:
            card = replace(card, files=None)  # a picture that is there is not sent again
        try:
            place = await self._message.show(card)
        except DiscordUnavailableError as error:
            # The state may stay as it is for long: it is shown again then, if nothing newer is.
            self._shown = None
            pause = max(error.retry_after_s, self._throttle.retry_s)
            self._next_edit_at = time.perf_counter() + pause
            logger.info("progress was not shown: %s", error)
            self._metrics.discord_edited("failed")
            return
        except (DiscordRefusedError, OSError) as error:
            logger.info("progress was not shown: %s", error)
            self._metrics.discord_edited("failed")
            return
        self._metrics.discord_edited("refused" if place is None else "done")
        if place is None:
            self._closed = True
        else:
            self._files = files

    async def _show_last(self, card: Card) -> MessageRef | None:
        async with self._editing:
            place = await self._message.show(card, final=True)
        self._metrics.discord_edited()
        return place

    def _end(self) -> None:
        if not self._concluded:
            self._concluded = True
            self._throttle.leave(self._channel_id)
        if self._put_off is not None:
            self._put_off()
            self._put_off = None

    async def _due(self) -> None:
        self._put_off = None
        await self.refresh()
