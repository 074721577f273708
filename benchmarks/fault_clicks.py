"""The steps after or beside a clip at which Discord may fail, one class each."""

from __future__ import annotations

import contextlib
from typing import ClassVar, Final

from benchmarks.fault_cells import MEET_S, Cell, NotYet, Outcome, by_token
from benchmarks.fault_jobs import TOLD_S, JobCell
from bot.store import JobState
from tests.loopback_discord import Call, Message
from tests.loopback_discord.answers import has_clip, is_card
from tests.loopback_discord.state import Interaction

_LONG: Final = 60
"""Sampling steps of a job that is still under way when it is cancelled."""
_FILLERS: Final = 2
_GONE: Final = frozenset({"404 10003", "404 10008"})
"""Faults in which Discord says that there is no such message."""


class ClickCell(Cell):
    """Something is done with a clip that was delivered well."""

    clicked: Interaction | None = None
    known: frozenset[int] = frozenset()

    def begin(self) -> None:
        self.asked = self.imagine()
        message = self.delivered()
        self.known = frozenset(m.id for m in self.messages())
        self.act(message)
        self.wait_met()

    def act(self, message: Message) -> None:
        """Do it, and set `clicked`."""
        raise NotImplementedError

    def is_of_click(self, call: Call) -> bool:
        """Return whether the call is made with the click's token."""
        return self.clicked is not None and self.clicked.token in call.path

    def answers(self) -> list[Message]:
        """Return what the user was told since."""
        return [m for m in self.private() if m.id not in self.known]

    def button(self, name: str) -> str:
        """Return the id of a button of the clip."""
        row = self.row()
        assert row is not None
        return f"floor33:{name}:{row['clip']}"


class Delete(ClickCell):
    """The Delete button."""

    step = "Delete"

    def meets(self, call: Call) -> bool:
        return call.method == "DELETE" and "/messages/" in call.path

    def act(self, message: Message) -> None:
        self.clicked = self.click(self.button("delete"), message.id)

    def finish(self) -> None:
        if self.restart:
            self._wait(TOLD_S / 5)
        else:
            self._wait(self.patience_s)
        if self._kept() and self.fault.passes | self.restart:
            # Nothing has happened, so it is asked for again; Discord is well.
            self.until(lambda: self._lasts() is False, "the outage has no end")
            self.click(self.button("delete"), self.clips()[0].id)
            self.until(self._gone, "cannot be deleted afterwards")

    def outcome(self) -> Outcome:
        if self._gone():
            return Outcome(ending="deleted")
        said = bool(self.answers())
        unknown = self.fault.name in _GONE
        return Outcome(
            lost=not self._kept() and not unknown,
            untold=not said,
            ending="kept, told: " + str(said),
        )

    def _wait(self, timeout_s: float) -> None:
        try:
            self.until(lambda: self._gone() or self.answers(), "nothing happens", timeout_s)
        except NotYet:
            return

    def _row_gone(self) -> bool:
        row = self.row()
        return row is not None and row["deleted_at"] is not None and not self.clip_file_there()

    def _gone(self) -> bool:
        there = self.clips() and self.fault.name not in _GONE
        return not there and self._row_gone()

    def _kept(self) -> bool:
        row = self.row()
        whole = row is not None and row["deleted_at"] is None and self.clip_file_there()
        return bool(self.clips()) and whole


class History(ClickCell):
    """The answer to /history."""

    step = "/history"
    wanted: ClassVar[str] = "a list"

    def meets(self, call: Call) -> bool:
        if not (self.is_of_click(call) and by_token(call)):
            return False
        # A refusal is of what is sent; an outage is of everything.
        return self.carries(call) or self.fault.passes

    def act(self, message: Message) -> None:
        self.clicked = self.slash("history")

    def finish(self) -> None:
        if self.restart:
            return
        self.until(
            lambda: not self.thinking() and (self.answers() or self.quiet()),
            "it stays at thinking",
            self.patience_s,
        )

    def outcome(self) -> Outcome:
        if self.restart:
            # A question that was not answered is asked again.
            again = self.again()
            return Outcome(lost=not again, ending="answered again" if again else "no answer")
        if self.thinking():
            return Outcome(lost=True, untold=True, ending="it stays at thinking")
        answers = self.answers()
        good = [m for m in answers if self.is_good(m)]
        words = self.wanted if good else answers[0].content if answers else "nothing"
        return Outcome(twice=len(good) > 1, untold=not answers, ending=f"told: {words}")

    def carries(self, call: Call) -> bool:
        """Return whether the call brings what was asked for."""
        return bool(call.payload.get("embeds"))

    def is_good(self, message: Message) -> bool:
        """Return whether the message is what was asked for."""
        return bool(message.embeds)

    def again(self) -> bool:
        """Ask once more, and return whether that is answered."""
        return self.history() is not None


class Send(History):
    """A button of /history that sends a clip."""

    step = "Send"
    wanted = "the clip"

    def act(self, message: Message) -> None:
        answer = self.history()
        if answer is None:
            raise NotYet("no history at first")
        self.known = frozenset(m.id for m in self.messages())
        self.clicked = self.click(self.button("fetch"), answer.id)

    def carries(self, call: Call) -> bool:
        return has_clip(call)

    def is_good(self, message: Message) -> bool:
        return message.clip is not None

    def again(self) -> bool:
        answer = self.history()
        if answer is None:
            return False
        self.known = frozenset(m.id for m in self.messages())
        self.click(self.button("fetch"), answer.id)
        try:
            self.until(lambda: any(self.is_good(m) for m in self.answers()), "not sent")
        except NotYet:
            return False
        return True


class Cancel(JobCell):
    """The Cancel button: the card that says so."""

    step = "Cancel"
    steps = _LONG
    clicked: Interaction | None = None

    def meets(self, call: Call) -> bool:
        words = str(call.payload.get("content", ""))
        return call.method == "PATCH" and is_card(call) and words.startswith("Cancelled")

    def begin(self) -> None:
        for _ in range(_FILLERS):
            self.imagine(seed=self.next_seed(), steps=_LONG)
        self.asked = self.imagine(steps=self.steps)
        row = self.until(self._cancellable, "there is no Cancel button", MEET_S)
        assert self.asked.message_id is not None
        self.act(row["id"], self.asked.message_id)
        self.wait_met()
        self.slash("cancel")  # what kept the machine busy

    def act(self, job_id: str, message_id: int) -> None:
        """Cancel it, and set `clicked`."""
        self.clicked = self.click(f"floor33:cancel:{job_id}", message_id)

    def finish(self) -> None:
        self.until(lambda: self.state() in self._ENDS, "not cancelled", self.patience_s)
        if not self.restart:
            with contextlib.suppress(NotYet):  # the verdict says so
                self.until(self._card_says_so, "no words", TOLD_S)

    _ENDS: ClassVar[frozenset[JobState]] = frozenset({JobState.CANCELLED, JobState.DELIVERED})

    def outcome(self) -> Outcome:
        state, said = self.state(), self._card_says_so()
        if state is not JobState.CANCELLED:
            return Outcome(lost=True, ending=f"{state.value if state else 'no job'}")
        if self._own_clips():
            return Outcome(twice=True, ending="cancelled, and shown")
        if said or self.restart or not self.fault.passes:
            return Outcome(ending=f"cancelled, {'the card says so' if said else 'in /history'}")
        return Outcome(untold=True, ending="cancelled, the card does not say so")

    def _card_says_so(self) -> bool:
        assert self.asked is not None
        own = [m for m in self.shown() if m.id == self.asked.message_id]
        return any(m.content.startswith("Cancelled") for m in own)

    def _own_clips(self) -> list[Message]:
        assert self.asked is not None
        return [m for m in self.clips() if m.id == self.asked.message_id]

    def _cancellable(self) -> dict[str, object] | None:
        assert self.asked is not None
        message = self.lab.discord.state.messages.get(self.asked.message_id or 0)
        row = self.row()
        if message is None or row is None or "floor33:cancel:" not in str(message.components):
            return None
        return row


class CancelCommand(Cancel):
    """The answer to /cancel."""

    step = "/cancel"

    def meets(self, call: Call) -> bool:
        own = self.clicked is not None and self.clicked.token in call.path
        carries = str(call.payload.get("content", "")).startswith("Cancelled: ")
        return own and by_token(call) and (carries or self.fault.passes)

    def act(self, job_id: str, message_id: int) -> None:
        self.clicked = self.slash("cancel", clip=job_id)

    def finish(self) -> None:
        super().finish()
        if not self.restart:
            self.until(lambda: not self.thinking(), "it stays at thinking", self.patience_s)

    def outcome(self) -> Outcome:
        found = super().outcome()
        if not self.restart and self.thinking():
            return Outcome(lost=True, untold=True, ending="it stays at thinking")
        return found
