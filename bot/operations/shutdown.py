"""The orderly end: nothing new is begun, what is nearly done is finished."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from bot.store import Store, StoreError
from engine.serving import Engine

logger = logging.getLogger(__name__)

RESTARTING: Final = "The bot is being restarted. Ask again in a minute."
_LOOK_S: Final = 0.2


class Shutdown:
    """Whether the end has been announced, and the waiting before it."""

    def __init__(self) -> None:
        self.begun = False

    async def drain(self, engine: Engine, store: Store, grace_s: float) -> bool:
        """Start no more jobs, and wait until those that run are rendered and delivered.

        Returns:
            Whether they all were within `grace_s` seconds. What was not is done by the next start.
        """
        self.begun = True
        engine.hold()
        if grace_s <= 0:
            return False
        try:
            async with asyncio.timeout(grace_s):
                # Other tasks, and the engine's threads, move them on.
                while await store.jobs_in_hand():  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            logger.warning("a clip is not done after %g s; it is left to the next start", grace_s)
            return False
        except StoreError as error:
            logger.error("not waited for what runs: %s", error)
            return False
        return True
