"""Ways in which OpenAI-compatible servers differ in what they accept."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final

from prompt_expansion.instructions import conversation

_FEWEST_TOKENS: Final = 256
"""The limit to go down to when a server finds `max_tokens` too large and does not say more."""

_ROOM_FOR_QUESTION: Final = 600
"""Tokens of a model's context that the instructions, the examples and the prompt may take."""

_ALLOWED: Final = re.compile(
    r"(?:at most|maximum[^.\d]{0,60}|less than or equal to|<=|\[\d+,)\s*(\d{3,7})", re.IGNORECASE
)

_UNKNOWN: Final = re.compile(
    r"unsupported|not supported|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed|"
    r"forbidden|deprecated|extra|does not support|instead",
    re.IGNORECASE,
)
_TOO_LARGE: Final = re.compile(
    r"too (?:large|long|many|high|big)|at most|maximum|exceed|context|less than|greater than|"
    r"out of range|must be (?:<|between)",
    re.IGNORECASE,
)
_SYSTEM_ROLE: Final = re.compile(
    r"(?:system|developer)\W{0,3}\s*(?:role|message|prompt|instruction)|role\W.{0,40}system|"
    r"got system|alternat|(?:invalid|unknown|unexpected|unsupported)\s.{0,20}role",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The dialect of the API that a server was found to understand.

    Attributes:
        limit_name: The parameter that limits an answer's length; None: none is sent.
        most_tokens: The largest value that it may have; None: no other than the setting's.
        system_role: Whether there may be a message with the role "system".
    """

    limit_name: str | None = "max_tokens"
    most_tokens: int | None = None
    system_role: bool = True

    def request(self, prompt: str, model: str, max_tokens: int) -> dict[str, Any]:
        """Return the body of a request for an expansion of `prompt`."""
        body: dict[str, Any] = {
            "model": model,
            "messages": conversation(prompt, system_role=self.system_role),
        }
        if self.limit_name is not None:
            body[self.limit_name] = min(max_tokens, self.most_tokens or max_tokens)
        return body

    def adapted(self, complaint: str, max_tokens: int) -> Dialect | None:
        """Return what to try after a server's complaint; None if it is about nothing known.

        Args:
            complaint: The server's own words.
            max_tokens: The limit of the settings.
        """
        limit = min(max_tokens, self.most_tokens or max_tokens)
        about_limit = self.limit_name is not None and re.search(r"tokens|context", complaint)
        if about_limit and (self.limit_name or "") in complaint and _UNKNOWN.search(complaint):
            is_first = self.limit_name == "max_tokens"
            return replace(self, limit_name="max_completion_tokens" if is_first else None)
        if about_limit and _TOO_LARGE.search(complaint) and limit > _FEWEST_TOKENS:
            return replace(self, most_tokens=_allowed(complaint, limit))
        if self.system_role and _SYSTEM_ROLE.search(complaint):
            return replace(self, system_role=False)
        return None


def _allowed(complaint: str, limit: int) -> int:
    """The largest limit below `limit` that a complaint names, or else the fewest tokens."""
    for number in map(int, _ALLOWED.findall(complaint)):
        room = number - _ROOM_FOR_QUESTION if "context" in complaint else number
        if _FEWEST_TOKENS < room < limit:
            return room
    return _FEWEST_TOKENS
