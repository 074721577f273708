"""The steps from a command to its clip at which Discord may fail, one class each."""

from __future__ import annotations

from typing import ClassVar, Final

from benchmarks.fault_cells import MEET_S, Cell, NotYet, Outcome, by_token, in_channel
from bot.store import JobState
from tests.loopback_discord import Call
from tests.loopback_discord.answers import Answer, error, has_clip, is_card

TOLD_S: Final = 25.0
"""Seconds in which a card says what has become of its job, once that is known."""


class JobCell(Cell):
    """A clip is asked for, and something fails on its way."""

    steps: ClassVar[int] = 2
    card_stays_open: ClassVar[bool] = True
    """Whether the job's message can still be edited when the clip could not be put there."""

    def begin(self) -> None:
        self.asked = self.imagine(steps=self.steps)
        self.wait_met()

    def finish(self) -> None:
        # Others' clips come first on a busy machine; the minute counts from the end of the outage.
        self.until(self.rendered, "the clip is not made", MEET_S)
        self.until(self.job_over, "the job has no end", self.patience_s)
        if self.fault.passes and not self.restart:
            self.until(lambda: self.clips() or self.said(), "not shown", self.patience_s)
        elif not self.clips() and self.card_stays_open:
            self.wait_for_words()

    def outcome(self) -> Outcome:
        clips, said, state = self.clips(), self.said(), self.state()
        if len(clips) > 1:
            return Outcome(twice=True, ending=f"{len(clips)} messages")
        if clips:
            lost = state is not JobState.DELIVERED
            stale = self.card_stays_open and self.has_dead_button()
            ending = "shown, Cancel button stays" if stale else "shown"
            return Outcome(lost=lost, untold=stale, ending=ending)
        return self._without_clip(said, state)

    def _without_clip(self, said: str, state: JobState | None) -> Outcome:
        answer = self.history()
        listed = "" if answer is None or not answer.embeds else answer.embeds[0]["description"]
        offered = answer is not None and "floor33:fetch:" in str(answer.components)
        row = self.row() or {}
        reason = str(row.get("error") or "")
        kept = offered and self.clip_file_there()
        ended = state in (JobState.FAILED, JobState.CANCELLED)
        told = bool(said) or bool(reason and reason[:20] in listed)
        stale = ended and self.card_stays_open and self.has_dead_button()
        where = "on the card" if said else "in /history" if told else "nowhere"
        ending = f"{state.value if state else 'no job'}, told {where}: {said or reason}"
        return Outcome(lost=not (kept or ended), untold=not told or stale, ending=ending)

    def wait_for_words(self) -> None:
        """Wait until a card or message says how the job ended, but not for ever."""
        try:
            self.until(self.said, "no words", TOLD_S)
        except NotYet:
            return  # the verdict says so


class Acknowledgement(JobCell):
    """The first answer to the command."""

    step = "acknowledgement"

    def meets(self, call: Call) -> bool:
        return call.path.endswith("/callback")

    def finish(self) -> None:
        self.until(lambda: self.job_over() or self._dropped(), "no end", self.patience_s)

    def outcome(self) -> Outcome:
        if self.row() is not None:
            return super().outcome()
        assert self.asked is not None
        if self.asked.acknowledged_at is None:
            return Outcome(ending="never acknowledged")
        # Killed before the wish was written down: nobody can know of it.
        stays = bool(self.thinking()) and not self.killed
        told = bool(self.private())
        return Outcome(lost=stays, untold=not (told or self.killed), ending="acknowledged, no job")

    def _dropped(self) -> bool:
        return self.row() is None and self.quiet()


class FirstCard(JobCell):
    """The answer becomes a card."""

    step = "first card"

    def meets(self, call: Call) -> bool:
        return call.method == "PATCH" and is_card(call) and not has_clip(call) and not self.cards


class Progress(JobCell):
    """The card changes."""

    step = "progress"
    steps = 40

    def meets(self, call: Call) -> bool:
        return bool(call.method == "PATCH" and is_card(call) and not has_clip(call) and self.cards)


class ClipByToken(JobCell):
    """The clip is put on the card by the interaction's token."""

    step = "clip token"

    def meets(self, call: Call) -> bool:
        return has_clip(call) and by_token(call)


class ClipAnywhere(JobCell):
    """The clip is refused wherever it goes."""

    step = "clip anywhere"

    def meets(self, call: Call) -> bool:
        return has_clip(call)


class ClipByEdit(JobCell):
    """The token is over: the bot edits its message as the author."""

    step = "clip edit"
    card_stays_open = False

    def meets(self, call: Call) -> bool:
        return self._token_over() and call.method == "PATCH" and in_channel(call)

    def hindrance(self, call: Call) -> Answer | None:
        if has_clip(call) and self.asked is not None:
            self.asked.dead = True
        return None

    def _token_over(self) -> bool:
        return self.asked is not None and self.asked.dead


class ClipAsMessage(ClipByEdit):
    """The message cannot be edited, either: a new one is sent to the channel."""

    step = "clip message"

    def meets(self, call: Call) -> bool:
        return call.method == "POST" and in_channel(call) and self._to_channel(call)

    def hindrance(self, call: Call) -> Answer | None:
        super().hindrance(call)
        edits = call.method == "PATCH" and in_channel(call)
        return error(403, 50001) if edits and self._token_over() else None

    def _to_channel(self, call: Call) -> bool:
        return call.path == f"/channels/{self.channel_id}/messages"


class ClipAsDirectMessage(ClipAsMessage):
    """The channel is closed: the clip goes to its owner."""

    step = "clip direct"

    def meets(self, call: Call) -> bool:
        if not self._token_over():
            return False
        opens = call.path.startswith("/users/")
        sends = call.method == "POST" and in_channel(call) and not self._to_channel(call)
        return opens or sends

    def hindrance(self, call: Call) -> Answer | None:
        sends = call.method == "POST" and self._to_channel(call)
        return error(403, 50013) if sends else super().hindrance(call)


class Reactions(JobCell):
    """The thumbs under the clip."""

    step = "reactions"

    def meets(self, call: Call) -> bool:
        return call.method == "PUT" and "/reactions/" in call.path

    def finish(self) -> None:
        super().finish()
        if self.fault.passes and not self.restart:
            try:
                self.until(self._both, "no thumbs", TOLD_S)
            except NotYet:
                return

    def outcome(self) -> Outcome:
        found = super().outcome()
        wanted = self.fault.passes and not self.restart
        if wanted and not self._both():
            return Outcome(lost=True, ending=f"{found.ending}, without thumbs")
        return found

    def _both(self) -> bool:
        return any(len(message.reactions) == 2 for message in self.clips())
