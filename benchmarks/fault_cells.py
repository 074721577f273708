"""One cell of the matrix: a user whose calls fail in one way at one step."""

from __future__ import annotations

import asyncio
import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from benchmarks.fault_kinds import Fault, Span
from benchmarks.fault_lab import Lab
from bot.store import JobState
from tests.loopback_discord import Call, Message
from tests.loopback_discord.answers import Answer, Reset, has_clip, is_card
from tests.loopback_discord.state import EPHEMERAL, LOADING, Interaction

OUTAGE_S: Final = 3.0
PATIENCE_S: Final = 60.0
_SLOW_PATIENCE_S: Final = 170.0
MEET_S: Final = 300.0
"""Until the fault is met; only a busy machine needs it."""
_HANG_S: Final = 300.0
_POLL_S: Final = 0.1
_QUIET_S: Final = 5.0
"""Of no more calls: whoever tries again has done so."""
_OVER: Final = frozenset({JobState.DELIVERED, JobState.FAILED, JobState.CANCELLED})
_BETWEEN: Final = "…"
"""Stands in a message that is about to go."""
_SENTENCES: Final = ("❌", "Cancelled", "The clip is ready, but")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a cell; nothing is wrong if all of its flags are false.

    Attributes:
        lost: a clip that can be had nowhere, a job or an answer without end, half a deletion.
        twice: a clip in more than one message.
        untold: something did not come about and its user cannot know.
        unmet: no call met the fault, so nothing was learnt.
        ending: in words.
    """

    lost: bool = False
    twice: bool = False
    untold: bool = False
    unmet: bool = False
    ending: str = ""


class NotYet(Exception):  # noqa: N818 - an outcome
    """Something did not come about in time."""


class Cell(ABC):
    """A user of their own, in a channel of their own.

    `begin` goes on until the fault has been met; `finish` until an end is seen, or none is to be
    expected any more. The bot may have been started anew in between. Both run in a thread, `meet`
    in the server's.

    Args:
        lab: where it happens.
        fault: how the calls fail.
        restart: the bot is started anew before `finish`.
        killed: without a chance to end in good order.
    """

    step: ClassVar[str]

    def __init__(self, lab: Lab, fault: Fault, *, restart: bool, killed: bool) -> None:
        self.lab, self.fault, self.restart, self.killed = lab, fault, restart, killed
        number = lab.number()
        self.user_id, self.channel_id = 50_000 + number, 3_000_000 + number
        self.seed = number
        self.asked: Interaction | None = None
        self.cards = self.hits = 0
        self.met_at = self.last_call_at = 0.0
        self.well = self.over = False
        self.trouble = ""
        self._seeds = itertools.count(1_000_000 + 1_000 * number)

    # ------------------------------------------------------------- what a step decides

    @abstractmethod
    def meets(self, call: Call) -> bool:
        """Return whether the call is one that fails, by what it is."""

    def hindrance(self, call: Call) -> Answer | None:
        """Return the refusal that keeps the bot from an easier way, if there is to be one."""
        return None

    @abstractmethod
    def begin(self) -> None:
        """Act as the user does, until the fault has been met."""

    @abstractmethod
    def finish(self) -> None:
        """Wait for the end."""

    @abstractmethod
    def outcome(self) -> Outcome:
        """Judge what there is."""

    # ------------------------------------------------------------------ Discord's side

    async def meet(self, call: Call, done: bool) -> None:
        """Fail the call if it is its turn."""
        self.last_call_at = time.monotonic()
        meets = self.meets(call)
        if done and is_card(call) and not has_clip(call):
            self.cards += 1
        if not done and (refusal := self.hindrance(call)) is not None:
            raise refusal
        if not meets or done != self.fault.late or not self._lasts():
            return
        self.hits += 1
        self.met_at = self.met_at or time.monotonic()
        if self.fault.late and not self.fault.repeated:
            self._forget_nonces()
        if self.fault.make is not None:
            raise self.fault.make()
        until = time.monotonic() + _HANG_S
        while not self.over and time.monotonic() < until:  # noqa: ASYNC110 - set by a thread
            await asyncio.sleep(_POLL_S)
        raise Reset

    def recover(self) -> None:
        """Let no call fail any more."""
        self._forget_nonces()
        self.well = True

    def _lasts(self) -> bool:
        if self.well:
            return False
        if self.fault.span is Span.ONCE:
            return self.hits == 0
        if self.fault.span is Span.HOLDS or self.restart or not self.met_at:
            return True
        return time.monotonic() - self.met_at < OUTAGE_S

    def _forget_nonces(self) -> None:
        """Be as Discord is some minutes later: an answer may be lost for longer than a nonce."""
        for message in self.messages():
            message.nonce = None

    # ---------------------------------------------------------------------- looking

    @property
    def patience_s(self) -> float:
        """Seconds after which nobody waits any more."""
        return _SLOW_PATIENCE_S if self.fault.slow else PATIENCE_S

    def messages(self) -> list[Message]:
        """Return what was written to the channel and to the user, oldest first."""
        state = self.lab.discord.state
        places = {self.channel_id, state.direct_channels.get(self.user_id)}
        found = [m for m in list(state.messages.values()) if m.channel_id in places]
        return sorted(found, key=lambda message: message.id)

    def shown(self) -> list[Message]:
        """Return those that are not for one user's eyes only."""
        return [m for m in self.messages() if not m.flags & EPHEMERAL]

    def clips(self) -> list[Message]:
        """Return the messages that show a clip to everybody."""
        return [m for m in self.shown() if m.clip is not None]

    def private(self) -> list[Message]:
        """Return what the user alone was told, and can read."""
        own = [m for m in self.messages() if m.flags & EPHEMERAL and not m.flags & LOADING]
        return [m for m in own if m.content != _BETWEEN]

    def thinking(self) -> list[Message]:
        """Return the messages that still promise an answer."""
        return [m for m in self.messages() if m.flags & LOADING]

    def row(self) -> dict[str, Any] | None:
        """Return the job, with its clip."""
        return next((r for r in self.lab.rows() if r["seed"] == self.seed), None)

    def state(self) -> JobState | None:
        """Return the state of the job; None if there is none."""
        row = self.row()
        return None if row is None else JobState(row["state"])

    def job_over(self) -> bool:
        """Return whether the job has an end, or a reason why its clip waits."""
        row = self.row()
        if row is None:
            return False
        state = JobState(row["state"])
        return state in _OVER or (state is JobState.RENDERED and row["error"] is not None)

    def rendered(self) -> bool:
        """Return whether the clip is made, or the job over without one."""
        return self.state() not in (None, JobState.QUEUED, JobState.RUNNING)

    def clip_file_there(self) -> bool:
        """Return whether the clip's file is kept."""
        row = self.row()
        return bool(row and row["path"] and (self.lab.data_dir / row["path"]).is_file())

    def said(self) -> str:
        """Return the last sentence about an end without a clip that a card or message says."""
        words = [m.content for m in (*self.shown(), *self.private())]
        return next((w for w in reversed(words) if w.startswith(_SENTENCES)), "")

    def has_dead_button(self) -> bool:
        """Return whether a message offers to cancel what is over."""
        return any("floor33:cancel:" in str(m.components) for m in self.shown())

    def quiet(self) -> bool:
        """Return whether the bot has stopped trying."""
        idle = time.monotonic() - max(self.last_call_at, self.met_at)
        return idle > (_SLOW_PATIENCE_S / 2 if self.fault.slow else 2 * _QUIET_S)

    # ----------------------------------------------------------------------- acting

    def imagine(self, *, seed: int | None = None, steps: int = 2) -> Interaction:
        """Ask for a clip."""
        options = {"prompt": "a cat", "steps": steps, "seed": seed or self.seed}
        return self.slash("imagine", **options)

    def slash(self, command: str, **options: Any) -> Interaction:
        """Type a command. Raises NotYet if no bot hears of it."""
        made = self.lab.discord.slash(self.user_id, command, channel_id=self.channel_id, **options)
        return _heard(made)

    def click(self, button: str, message_id: int) -> Interaction:
        """Click a button. Raises NotYet if no bot hears of it."""
        made = self.lab.discord.click(self.user_id, button, message_id, channel_id=self.channel_id)
        return _heard(made)

    def next_seed(self) -> int:
        """Return a seed for a job that only keeps the machine busy."""
        return next(self._seeds)

    def until(self, condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
        """Wait for the condition and return it. Raises NotYet."""
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            if time.monotonic() > deadline:
                raise NotYet(what)
            time.sleep(_POLL_S)
        return found

    def wait_met(self) -> None:
        """Wait until the fault has been met. Raises NotYet."""
        self.until(lambda: self.hits, "the fault was not met", MEET_S)

    def delivered(self) -> Message:
        """Wait for the clip with both thumbs, and return its message. Raises NotYet."""

        def ready() -> Message | None:
            if self.state() is not JobState.DELIVERED:
                return None
            return next((m for m in self.clips() if len(m.reactions) == 2), None)

        found: Message = self.until(ready, "the clip was not delivered at first", MEET_S)
        return found

    def history(self) -> Message | None:
        """Ask for the last clips and return the answer, or None if none comes."""
        known = {message.id for message in self.messages()}
        self.slash("history")
        try:
            answer: Message = self.until(
                lambda: next(
                    (m for m in self.private() if m.id not in known and (m.embeds or m.content)),
                    None,
                ),
                "no history",
            )
        except NotYet:
            return None
        return answer


def _heard(made: Interaction | None) -> Interaction:
    if made is None:
        raise NotYet("no bot listens")
    return made


def by_token(call: Call) -> bool:
    """Return whether the call is made with an interaction's token."""
    return call.path.startswith("/webhooks/")


def in_channel(call: Call) -> bool:
    """Return whether the call is made as the bot, to a channel."""
    return call.path.startswith("/channels/")
