"""The ways in which Discord's HTTP API, or something before it, fails to do what it is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Final

from tests.loopback_discord.answers import Answer, Reset, error, html, limited, raw

Make = Callable[[], Answer | Reset]


class Span(Enum):
    """The duration of a fault, from the first call that meets it."""

    HOLDS = "until the bot is started anew"
    OUTAGE = "some seconds"
    ONCE = "one call"


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to fail.

    Attributes:
        name: a status, and a code of Discord's or words.
        make: makes the answer; None for no answer at all.
        span: how long it lasts.
        late: the call has taken effect before.
        alone: it concerns everything that the bot does, not only the job that meets it.
        slow: whoever meets it waits for longer than a usual outage.
        repeated: discord.py asks again by itself within seconds, while Discord knows nonces.
    """

    name: str
    make: Make | None
    span: Span = Span.OUTAGE
    late: bool = False
    alone: bool = False
    slow: bool = False
    repeated: bool = False

    @property
    def passes(self) -> bool:
        """True if the fault is over by itself while the bot runs."""
        return self.span is not Span.HOLDS


# https://discord.com/developers/docs/topics/opcodes-and-status-codes#json
_REFUSALS: Final = (
    (404, 10003),  # unknown channel
    (404, 10004),  # unknown server
    (404, 10008),  # unknown message
    (404, 10015),  # unknown webhook: an interaction's token that is over
    (404, 10062),  # unknown interaction
    (400, 20009),  # explicit content
    (400, 30010),  # too many reactions
    (400, 30046),  # too many edits of an old message
    (413, 40005),  # too large
    (400, 40006),  # switched off for now
    (400, 40060),  # already acknowledged
    (403, 50001),  # missing access
    (400, 50006),  # empty message
    (403, 50007),  # direct messages closed
    (403, 50013),  # missing permission
    (401, 50027),  # invalid token of a webhook
    (400, 50035),  # invalid form
    (400, 50083),  # archived thread
    (400, 50109),  # invalid JSON
    (400, 160_005),  # locked thread
    (400, 200_000),  # kept out by AutoMod
    (400, 200_001),  # the same, for a title
)


def _coded() -> list[Fault]:
    refusals = [
        Fault(f"{status} {code}", partial(error, status, code), Span.HOLDS)
        for status, code in _REFUSALS
    ]
    slow_mode: dict[str, Any] = {"retry_after": 1.0, "global": False}
    return [
        *refusals,
        Fault("429 30046", partial(error, 429, 30046, **slow_mode), Span.HOLDS),
        Fault("429 20028", partial(error, 429, 20028, **slow_mode)),
        Fault("401 40001", partial(error, 401, 40001), alone=True),
        Fault("401", partial(error, 401, message="401: Unauthorized"), alone=True),
    ]


def _odd(body: bytes) -> Make:
    return partial(raw, 200, body)


def _others() -> list[Fault]:
    limits = [
        Fault("429 short", partial(limited, 0.5), Span.ONCE),
        Fault("429 an hour", partial(limited, 3600.0), Span.HOLDS, slow=True),
        Fault("429 global", partial(limited, 1.0, everywhere=True), Span.ONCE, alone=True),
        Fault("429 page", partial(html, 429)),
        Fault("429 page Via", partial(html, 429, via=True)),
    ]
    servers = [Fault(str(status), partial(error, status)) for status in (500, 502, 503, 504)]
    pages = [
        Fault(f"{status} page", partial(html, status)) for status in (400, 401, 403, 404, 408, 502)
    ]
    connections = [
        Fault("502 done", partial(error, 502), late=True, repeated=True),
        Fault("reset", Reset),
        Fault("reset done", Reset, late=True),
        Fault("no answer", None, slow=True),
        Fault("no answer done", None, late=True, slow=True),
    ]
    odd = [
        Fault("200 empty", _odd(b""), late=True),
        Fault("200 page", partial(html, 200), late=True),
        Fault("200 null", _odd(b"null"), late=True),
        Fault("200 {}", _odd(b"{}"), late=True),
        Fault("200 cut", _odd(b'{"id": "1", "chan'), late=True),
    ]
    return [*limits, *servers, *pages, *connections, *odd]


FAULTS: Final[dict[str, Fault]] = {fault.name: fault for fault in (*_coded(), *_others())}
