"""Expansion by a language model behind an OpenAI-compatible server."""

import asyncio
import logging
from typing import Final

from prompt_expansion.chat import ChatServer, UnusableError
from prompt_expansion.cleaning import clean_reply
from prompt_expansion.completion import Reply
from prompt_expansion.faithful import preserves_keywords
from prompt_expansion.interface import Expansion
from prompt_expansion.language import detect_language
from prompt_expansion.line import Line
from prompt_expansion.settings import ExpansionSettings
from prompt_expansion.tokens import TOKEN_BUDGET, TokenCounter
from prompt_expansion.truncation import drop_last_clause, truncate_to_budget, without_repeats
from prompt_expansion.validation import find_problem

logger = logging.getLogger(__name__)

_ROOM_NEEDED: Final = 12
"""Tokens that must be left beside the prompt for asking to be worth it."""

_AT_ONCE: Final = 2
"""Requests under way at the same time. Local servers answer one after the other, and each has to be
answered within the time limit; hosted ones are faster than the clips are made."""

_LONGEST_WAIT: Final = 15
"""Multiple of the time limit for which somebody stands in line at most, while it moves."""


class ServerExpander:
    """Asks a chat model, cleans and checks its answer, and falls back to the user's own words.

    The user's significant words that the answer lost are put back by placing the whole prompt in
    front of it. An answer that does not look like a description of the user's clip is not used.
    """

    def __init__(self, settings: ExpansionSettings, count_tokens: TokenCounter) -> None:
        self._settings = settings
        self._count_tokens = count_tokens
        self._server = ChatServer(settings)
        self._line = Line(
            _AT_ONCE,
            patience_s=settings.timeout_s,
            longest_wait_s=_LONGEST_WAIT * settings.timeout_s,
        )

    async def expand(self, prompt: str) -> Expansion:
        """Expand one prompt.

        The server has `timeout_s` from when it is asked, which is tried twice at most. Before that,
        others may have to be served.
        """
        try:
            text = await self._expanded(prompt)
        except UnusableError as error:
            return self._expansion(
                prompt, prompt, f"The expansion server {error}; your own words are used."
            )
        return self._expansion(prompt, text, None)

    async def close(self) -> None:
        """Close the connections to the server."""
        await self._server.close()

    def _expansion(self, prompt: str, text: str, fallback: str | None) -> Expansion:
        return Expansion(
            text=text,
            original=prompt,
            tokens=self._count_tokens(text),
            backend="openai",
            language=detect_language(prompt),
            fallback=fallback,
        )

    async def _expanded(self, prompt: str) -> str:
        if self._server.is_closed:
            raise UnusableError("is no longer connected")
        if not prompt.strip():
            raise UnusableError("was not asked, because the prompt is empty")
        if self._count_tokens(prompt) > TOKEN_BUDGET - _ROOM_NEEDED:
            raise UnusableError("was not asked, because the prompt is long enough already")
        answer = await self._answer(prompt)
        if problem := find_problem(prompt, answer):
            logger.info("prompt expansion: an answer was not used: %s", problem)
            raise UnusableError(problem)
        return self._with_users_words(prompt, answer)

    async def _answer(self, prompt: str) -> str:
        """Ask the server, and return its answer, cleaned."""
        reply = await self._ask_in_turn(prompt)
        if reply.declined:
            raise UnusableError("declined to answer")
        if not reply.finished:
            raise UnusableError("did not finish its answer")
        answer = without_repeats(clean_reply(reply.text))
        if reply.cut_off:
            answer = drop_last_clause(answer)
        if not answer and reply.cut_off:
            logger.warning(
                "prompt expansion: all %d tokens were used up before there was an answer; "
                "models that reason need a larger max_tokens",
                self._settings.max_tokens,
            )
            raise UnusableError("used up its token limit before it answered")
        if not answer:
            raise UnusableError("gave an empty answer")
        return answer

    async def _ask_in_turn(self, prompt: str) -> Reply:
        try:
            async with self._line.turn():
                return await self._ask_in_time(prompt)
        except TimeoutError:
            logger.warning("prompt expansion: too many prompts wait for the server")
            raise UnusableError("has too many requests at the moment") from None

    async def _ask_in_time(self, prompt: str) -> Reply:
        seconds = self._settings.timeout_s
        try:
            async with asyncio.timeout(seconds):
                reply = await self._server.ask(prompt)
        except TimeoutError:
            logger.warning("prompt expansion: no answer within %g s", seconds)
            raise UnusableError(f"did not answer within {seconds:g} s") from None
        except UnusableError:
            self._line.moved()
            raise
        self._line.moved()
        return reply

    def _with_users_words(self, prompt: str, answer: str) -> str:
        text = truncate_to_budget("", answer, self._count_tokens)
        if preserves_keywords(prompt, text):
            return text
        return truncate_to_budget(f"{prompt.strip()}, ", answer, self._count_tokens) or prompt
