"""Events in Discord while nobody listened: messages deleted, thumbs given and taken back.

Discord tells a new session nothing of what came before it. So after each start, and after each
session that could not be resumed, the messages of waiting jobs and of the last clips are looked
at, one after the other and slowly, beside everything else.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

from bot.messages.answers import DiscordRefusedError, DiscordUnavailableError, call
from bot.protocols import BotClient
from bot.store import JobState, ShownClip, StoreError

logger = logging.getLogger(__name__)

MAX_CLIPS: Final = 200
MAX_AGE: Final = timedelta(days=30)
"""Of the clips that are looked at."""
_PAUSE_S: Final = 0.25
"""Between two messages: Discord allows 50 requests a second, and everything else shares them."""
_AGAIN_S: Final = (60.0, 600.0)
"""After so long, messages are looked at again that could not be read."""
_LOOK_S: Final = 30.0
_WAITING_S: Final = 5.0
"""A start waits at most so long for the messages of waiting jobs."""


class _Look(Enum):
    DONE = "done"
    GONE = "gone"
    REFUSED = "refused"
    """The bot may not read the message; nothing is known of it."""
    TROUBLE = "trouble"
    """Discord is out of order, or something in between is; nothing is known yet."""


class CatchUp:
    """Makes up for what was missed.

    Args:
        bot: whose jobs and clips are looked at.
    """

    def __init__(self, bot: BotClient) -> None:
        self._bot = bot
        self._running = False
        self._again = False
        # What is newer than the present session was not missed: its events came, or will come.
        self._session_began = datetime.now(UTC)
        bot.add_listener(self._begin_session, "on_connect")

    async def _begin_session(self) -> None:
        """Note when the session began."""
        self._session_began = datetime.now(UTC)

    async def run(self) -> None:
        """Look at everything; one more time if a session begins meanwhile."""
        self._again = True
        if self._running:
            return
        self._running = True
        try:
            while self._again:
                self._again = False
                await self._look_at_all()
        except StoreError as error:
            logger.error("what was missed is not made up for: %s", error)
        finally:
            self._running = False

    async def look_at_waiting(self) -> None:
        """Cancel the jobs of the last run whose messages are gone; for some seconds at most."""
        try:
            async with asyncio.timeout(_WAITING_S):
                await self._look_at_jobs(pause_s=0.0)
        except TimeoutError:
            logger.info("the messages of waiting jobs are looked at later")
        except StoreError as error:
            logger.error("the messages of waiting jobs are not looked at: %s", error)

    async def _look_at_all(self) -> None:
        await self._look_at_jobs(pause_s=_PAUSE_S)
        until = self._session_began
        left = await self._bot.store.shown_clips(until - MAX_AGE, until, MAX_CLIPS)
        for wait_s in (0.0, *_AGAIN_S):
            await asyncio.sleep(wait_s)
            left = [clip for clip in left if await self._look_at(clip) is _Look.TROUBLE]
            if not left or self._again:
                return
        logger.warning("the messages of %d clips could not be read", len(left))

    async def _look_at_jobs(self, *, pause_s: float) -> None:
        until = self._session_began
        for job in await self._bot.store.unfinished_jobs():
            if job.created_at >= until:
                break
            # A clip that is there already is being delivered, which finds out by itself.
            if job.message_id is None or job.state is JobState.RENDERED:
                continue
            channel = self._bot.get_partial_messageable(job.channel_id)
            message = channel.get_partial_message(job.message_id)
            try:
                await call(self._bot, message.fetch, timeout_s=_LOOK_S)
            except (DiscordRefusedError, DiscordUnavailableError) as error:
                if _meaning(error) is _Look.GONE:
                    logger.info("the message of job %s was deleted meanwhile", job.id)
                    await self._bot.ratings.on_message_deleted(job.message_id)
            await asyncio.sleep(pause_s)

    async def _look_at(self, clip: ShownClip) -> _Look:
        if self._again or not self._bot.still_in_charge():
            return _Look.DONE
        look = _Look.DONE
        try:
            await self._bot.ratings.look(clip.channel_id, clip.message_id)
        except (DiscordRefusedError, DiscordUnavailableError) as error:
            look = _meaning(error)
            logger.debug("message %s: %s (%s)", clip.message_id, look.value, error)
        if look is _Look.GONE:
            logger.info("message %s was deleted meanwhile", clip.message_id)
            await self._bot.ratings.on_message_deleted(clip.message_id)
        await asyncio.sleep(_PAUSE_S)
        return look


def _meaning(error: DiscordRefusedError | DiscordUnavailableError) -> _Look:
    """Return what a failed look tells: only Discord itself can say that a message is gone."""
    if isinstance(error, DiscordUnavailableError):
        return _Look.TROUBLE
    return _Look.GONE if error.message_gone else _Look.REFUSED
