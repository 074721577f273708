"""The look of jobs and clips in Discord."""

from __future__ import annotations

import io
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

import discord

from bot.messages.formatting import shortened
from bot.messages.text import duration, in_about, quote
from bot.store import GenerationRecord, JobRecord, JobState
from engine.serving import ClipParams

PREVIEW_FILE: Final = "preview.webp"
FAILED_MARK: Final = "❌"
CANCELLED: Final = "Cancelled."
_DESCRIPTION: Final = 3000
_FIELD: Final = 1024
_UNREAD: Final = 200
_BAR: Final = 12


@dataclass(frozen=True, slots=True)
class CardFile:
    """An attachment: bytes or a file on disk, under a name that no user chose."""

    name: str
    content: bytes | Path

    def open(self) -> discord.File:
        """Return a fresh upload; Discord's library uses each one once."""
        if isinstance(self.content, Path):
            return discord.File(self.content, filename=self.name)
        return discord.File(io.BytesIO(self.content), filename=self.name)

    @property
    def size_bytes(self) -> int:
        """The size of the file. Raises OSError."""
        content = self.content
        return content.stat().st_size if isinstance(content, Path) else len(content)


@dataclass(frozen=True, slots=True)
class Card:
    """Everything a message shows. `files` None: those that it has already."""

    content: str
    embed: discord.Embed
    view: discord.ui.View | None = None
    files: tuple[CardFile, ...] | None = ()

    @property
    def size_bytes(self) -> int:
        """The size of all its files. Raises OSError."""
        return sum(file.size_bytes for file in self.files or ())


class Phase(Enum):
    """The phase of an unfinished job."""

    ACCEPTED = "accepted"
    EXPANDING = "expanding"
    QUEUED = "queued"
    RENDERING = "rendering"


@dataclass(slots=True)
class Snapshot:
    """The state of an unfinished job, as far as it is known. Times are seconds."""

    phase: Phase = Phase.ACCEPTED
    position: int = 0
    wait_s: float | None = None
    wait_error: float | None = None
    step: int = 0
    total_steps: int = 0
    elapsed_s: float = 0.0
    preview: bytes | None = field(default=None, repr=False)
    resumed: bool = False
    unread: str | None = None
    unread_negative: str | None = None

    @property
    def shown(self) -> Hashable:
        """The values that tell one state from another on a card."""
        wait = None if self.wait_s is None else in_about(self.wait_s)
        return (self.phase, self.position, wait, self.step)


def progress_card(job: JobRecord, snapshot: Snapshot, view: discord.ui.View | None) -> Card:
    """Show the place in the queue or the progress, with the latest preview picture."""
    embed = _base(job, None, discord.Colour.blurple())
    _add_unread(embed, snapshot.unread, snapshot.unread_negative)
    _add_params(embed, job.params)
    files: tuple[CardFile, ...] = ()
    if snapshot.preview is not None:
        files = (CardFile(PREVIEW_FILE, snapshot.preview),)
        embed.set_image(url=f"attachment://{PREVIEW_FILE}")
    return Card(_status(snapshot), embed, view, files)


def clip_card(
    job: JobRecord,
    generation: GenerationRecord,
    view: discord.ui.View,
    *,
    upload: Path | None = None,
    reduced: bool = False,
    problem: str = "",
) -> Card:
    """Show the finished clip with everything needed to make it again.

    The clip stands beside the embed: Discord plays no video inside one.

    Args:
        job: what was asked for.
        generation: what came of it.
        view: the buttons.
        upload: the file; None: there is none that can be sent.
        reduced: True if that file is not the clip as it was made.
        problem: why there is no file.
    """
    embed = _base(job, generation.expanded_prompt, discord.Colour.green())
    _add_unread(embed, generation.unread, generation.unread_negative)
    _add_params(embed, generation.params)
    embed.add_field(name="Time", value=duration(generation.elapsed_s))
    embed.set_footer(
        text=f"Model revision {generation.model_revision} · {generation.params.num_frames} frames"
    )
    if upload is None:
        content = (
            f"The clip is ready, but cannot be uploaded here: {problem} "
            "It is kept on the machine that runs this bot."
        )
        return Card(content, embed, view)
    content = "Clip ready. Rate it with 👍 or 👎."
    if reduced and job.format == "mp4":
        content += " (Made smaller to fit the upload limit; the original is kept.)"
    file = CardFile(f"floor33-{job.id[:12]}{upload.suffix}", upload)
    return Card(content, embed, view, (file,))


def failed_card(job: JobRecord, sentence: str) -> Card:
    """Show that a job ended without a clip, and what to do about it."""
    embed = _base(job, None, discord.Colour.red())
    return Card(shortened(f"{FAILED_MARK} {sentence}"), embed)


def undelivered_card(job: JobRecord, why: str, view: discord.ui.View) -> Card:
    """Show that a clip is there and could not be sent, and how to get it."""
    embed = _base(job, None, discord.Colour.orange())
    text = f"The clip is ready, but could not be sent here. {why} /history has it."
    return Card(shortened(text), embed, view)


def cancelled_card(job: JobRecord) -> Card:
    """Show that a job was cancelled."""
    return Card(CANCELLED, _base(job, None, discord.Colour.light_grey()))


def end_shown(content: str) -> tuple[JobState, str] | None:
    """Return the end without a clip, and its reason, that a message of this text shows."""
    if content == CANCELLED:
        return JobState.CANCELLED, content
    if content.startswith(FAILED_MARK):
        return JobState.FAILED, content.removeprefix(FAILED_MARK).strip()
    return None


def _status(snapshot: Snapshot) -> str:
    match snapshot.phase:
        case Phase.ACCEPTED:
            return "⏳ Back in the queue after a restart…" if snapshot.resumed else "⏳ Accepted…"
        case Phase.EXPANDING:
            return "✍️ Expanding the prompt…"
        case Phase.QUEUED:
            place = "next" if snapshot.position == 1 else f"place {snapshot.position}"
            again = " again after a restart" if snapshot.resumed else ""
            return f"⏳ In the queue{again}: {place}{_wait(snapshot)}"
        case Phase.RENDERING:
            return _rendering(snapshot)


def _wait(snapshot: Snapshot) -> str:
    if snapshot.wait_s is None:
        return ""
    wait, error = in_about(snapshot.wait_s), snapshot.wait_error
    # Nobody needs to know how far off a moment may be, and of a guess there is nothing to tell.
    sure = f" (±{error:.0%})" if error is not None and 0 < error < 1 and "about" in wait else ""
    return f" · begins {wait}{sure}"


def _rendering(snapshot: Snapshot) -> str:
    if not snapshot.total_steps or not snapshot.step:
        return f"🎬 Rendering `{'▱' * _BAR}` getting ready…"
    done = snapshot.step / snapshot.total_steps
    filled = round(done * _BAR)
    bar = "▰" * filled + "▱" * (_BAR - filled)
    text = f"🎬 Rendering `{bar}` {done:.0%} · step {snapshot.step}/{snapshot.total_steps}"
    left = snapshot.total_steps - snapshot.step
    if left and snapshot.elapsed_s > 0:
        text += f" · about {duration(snapshot.elapsed_s / snapshot.step * left)} left"
    return text


def _base(job: JobRecord, expanded: str | None, colour: discord.Colour) -> discord.Embed:
    embed = discord.Embed(description=quote(job.params.prompt, _DESCRIPTION), colour=colour)
    if expanded is None and job.expansion is not None:
        expanded = job.expansion.expanded
    if expanded is not None and expanded != job.params.prompt:
        embed.add_field(name="Expanded prompt", value=quote(expanded, _FIELD), inline=False)
    if job.expansion is not None and job.expansion.fallback is not None:
        told = quote(job.expansion.fallback, _FIELD)
        embed.add_field(name="Prompt not expanded", value=told, inline=False)
    if job.params.negative_prompt:
        embed.add_field(
            name="Negative", value=quote(job.params.negative_prompt, _FIELD), inline=False
        )
    return embed


def _add_unread(embed: discord.Embed, prompt: str | None, negative: str | None) -> None:
    """Name the words that were of no effect, since the model reads no more than 77 tokens."""
    for name, words in (("prompt", prompt), ("negative prompt", negative)):
        if words:
            embed.add_field(
                name=f"Too long for the model, not read of the {name}",
                value=quote(words, _UNREAD),
                inline=False,
            )


def _add_params(embed: discord.Embed, params: ClipParams) -> None:
    embed.add_field(name="Seed", value=str(params.seed))
    embed.add_field(name="Model", value=params.model)
    if params.steps is not None:
        embed.add_field(name="Steps", value=str(params.steps))
    if params.fps is not None:
        embed.add_field(name="FPS", value=str(params.fps))
    if params.guidance is not None:
        embed.add_field(name="Guidance", value=f"{params.guidance:g}")
    if params.width is not None and params.height is not None:
        embed.add_field(name="Size", value=f"{params.width}×{params.height}")
