"""Notice that Discord refuses the bot's token while it runs."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from bot.messages.answers import DiscordRefusedError, DiscordUnavailableError, call
from bot.protocols import BotClient

logger = logging.getLogger(__name__)

TOKEN_REFUSED: Final = (
    "Discord refused DISCORD_TOKEN; make a new one under "
    "https://discord.com/developers/applications, page Bot"
)
_ASK_EVERY_S: Final = 10.0
_ASK_TIMES: Final = 12
_TIMEOUT_S: Final = 20.0


class TokenWatch:
    """Ends the bot when its token stays refused; what waits is done by the next start.

    A token that was reset works for nothing any more, and only an operator can give a new one. For
    a while it is asked again: something between the bot and Discord may have said so.

    Attributes:
        refused: Discord's last word on the token was no.
    """

    def __init__(self, bot: BotClient) -> None:
        self._bot = bot
        self.refused = False

    def note_refusal(self) -> None:
        """Begin to watch, unless that has begun."""
        if not self.refused:
            self.refused = True
            logger.error(TOKEN_REFUSED)
            self._bot.background.submit(self._watch)

    async def _watch(self) -> None:
        refusals = 0
        while refusals < _ASK_TIMES:
            await asyncio.sleep(_ASK_EVERY_S)
            try:
                await call(self._bot, self._bot.application_info, timeout_s=_TIMEOUT_S)
            except DiscordUnavailableError as error:
                # An outage says nothing about the token.
                refusals += error.unauthorized
                logger.warning("Discord was asked for the bot's application: %s", error)
                continue
            except DiscordRefusedError as error:
                logger.warning("Discord was asked for the bot's application: %s", error)
            self.refused = False
            logger.warning("Discord accepts DISCORD_TOKEN again")
            return
        self._bot.fail(TOKEN_REFUSED)
