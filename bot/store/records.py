"""Records that go into the store and come out: frozen values, checked when they are made.

Times are aware and in UTC. Discord ids and seeds are non-negative 64-bit signed integers. Paths
are POSIX strings relative to the data folder unless said otherwise.
"""

from __future__ import annotations

import math
import re
import uuid
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import PurePosixPath, PureWindowsPath
from typing import Final, Literal, get_args

from bot.kinds import job_kind
from bot.store.states import JobState
from engine.params import ClipParams, ResolvedParams

ClipFormat = Literal["mp4", "gif", "webp"]
OVERALL: Final = "overall"
MAX_INT64: Final = 2**63 - 1
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_ASPECT: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")


def check_int64(name: str, value: int | None) -> None:
    """Raise ValueError unless `value` is None or in 0 .. 2**63-1 (what an SQLite integer holds)."""
    if value is not None and not 0 <= value <= MAX_INT64:
        raise ValueError(f"{name} must be in 0..{MAX_INT64}, not {value}")


def check_rating(aspect: str, value: int | None) -> None:
    """Raise ValueError unless the aspect is a short lower-case name, the value +1, -1 or None."""
    if not _ASPECT.fullmatch(aspect):
        raise ValueError(f"aspect must match {_ASPECT.pattern}, not {aspect!r}")
    if value not in (1, -1, None):
        raise ValueError(f"a rating's value must be 1 or -1, not {value!r}")


def _check_positive(**values: int | None) -> None:
    for name, value in values.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")


def _check_params(params: ClipParams) -> None:
    """Raise ValueError unless the database can hold the numbers."""
    check_int64("seed", params.seed)
    if params.guidance is not None and not math.isfinite(params.guidance):
        raise ValueError(f"guidance must be finite, not {params.guidance}")  # SQLite has no NaN
    _check_positive(
        fps=params.fps,
        steps=params.steps,
        width=params.width,
        height=params.height,
        num_frames=params.num_frames,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAsset:
    """A file that a user gave, already written below the data folder.

    Raises ValueError for a path that leaves the data folder, a malformed digest or sizes below 1.
    """

    path: str  # relative to the data folder, "/" between its parts
    sha256: str  # 64 lower-case hexadecimal digits
    mime: str  # e.g. "image/png"
    width: int  # pixels
    height: int  # pixels
    bytes: int  # size of the file
    kind: str = "picture"

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.path).parts
        absolute = self.path.startswith("/") or PureWindowsPath(self.path).drive
        if not parts or absolute or ".." in parts or "\\" in self.path:
            raise ValueError(f"path must lie inside the data folder, not {self.path!r}")
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError("sha256 must be 64 lower-case hexadecimal digits")
        _check_positive(width=self.width, height=self.height, bytes=self.bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetRecord:
    """A stored asset; see `NewAsset` for its fields."""

    id: int
    kind: str
    path: str
    sha256: str
    mime: str
    width: int
    height: int
    bytes: int
    created_at: datetime

    def as_new(self) -> NewAsset:
        """The same file for another job (a re-roll); the store keeps one row for it."""
        return NewAsset(
            kind=self.kind,
            path=self.path,
            sha256=self.sha256,
            mime=self.mime,
            width=self.width,
            height=self.height,
            bytes=self.bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job as a user asked for it.

    Attributes:
        params: of the clip, with the user's own prompt and a seed; the picture is `image_asset`.
        upload_limit: bytes, as the interaction told it.
        guild_id: None for a direct message.
        expanded_prompt: text that the prompt of a re-roll became before.
        parent_generation_id: the clip that this one re-rolls.
        message_id: the message that shows it, where it is known already.
        interaction_token: reaches the answer for 15 minutes.
        format: of the file that is sent; the MP4 is always kept.

    Raises ValueError for ids or a seed outside 0 .. 2**63-1, an unknown kind, an `animate` job
    without a picture, a guidance that is not finite, or a size, step count, frame count, frame
    rate or upload limit below 1.
    """

    user_id: int
    user_name: str
    channel_id: int
    kind: str
    params: ClipParams
    upload_limit: int
    guild_id: int | None = None
    expand: bool = False
    expanded_prompt: str | None = None
    image_asset: NewAsset | None = None
    parent_generation_id: str | None = None
    message_id: int | None = None
    interaction_token: str | None = None
    format: ClipFormat = "mp4"

    def __post_init__(self) -> None:
        check_int64("user_id", self.user_id)
        check_int64("channel_id", self.channel_id)
        check_int64("guild_id", self.guild_id)
        check_int64("message_id", self.message_id)
        if self.params.seed is None:
            raise ValueError("a job's seed is drawn before it is stored")
        _check_params(self.params)
        if job_kind(self.kind).needs_image != (self.image_asset is not None):
            raise ValueError("a picture goes with a job that starts from one, and only with that")
        if self.format not in get_args(ClipFormat):
            raise ValueError(f"format must be one of {get_args(ClipFormat)}, not {self.format!r}")
        _check_positive(upload_limit=self.upload_limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpansionRecord:
    """An expansion of a job's prompt, as stored."""

    job_id: str
    original: str
    expanded: str
    backend: str
    language: str
    fallback: str | None  # why the user's own words were kept
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job as stored; see `NewJob` for what the user asked for."""

    id: str
    state: JobState
    error: str | None  # why it failed, was cancelled, or (rendered) could not be delivered
    reason: str | None  # the same in one word, for counting
    attempts: int  # how often it was started; more than 1 after a restart in the middle
    user_id: int
    guild_id: int | None
    channel_id: int
    message_id: int | None  # the message that shows progress and later the clip
    kind: str
    params: ClipParams
    expand: bool
    upload_limit: int
    interaction_token: str | None
    format: ClipFormat
    parent_generation_id: str | None
    image_asset: AssetRecord | None
    expansion: ExpansionRecord | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGeneration:
    """A finished clip. Raises ValueError for a seed outside 0 .. 2**63-1 or sizes below 1.

    Attributes:
        params: what the model drew, with the user's own prompt.
        path: of the MP4, as the caller wants to find it again.
        elapsed_s: render time, seconds.
        device: where it was rendered.
        expanded_prompt: what the model was given, if not the user's words.
        unread: the end of the prompt, if it was too long for the model.
        unread_negative: the same of the negative prompt.
    """

    job_id: str
    params: ResolvedParams
    model_revision: str
    path: str
    elapsed_s: float
    device: str | None = None
    expanded_prompt: str | None = None
    unread: str | None = None
    unread_negative: str | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        _check_params(self.params)

    def unrecorded(self) -> GenerationRecord:
        """Return the clip as it will be stored: for showing it before it is."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return GenerationRecord(
            **values, created_at=datetime.now(UTC), deleted_at=None, expired=False
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRecord:
    """A clip as stored; see `NewGeneration`."""

    id: str
    job_id: str
    params: ResolvedParams
    expanded_prompt: str | None
    model_revision: str
    path: str
    elapsed_s: float
    device: str | None
    created_at: datetime
    deleted_at: datetime | None
    expired: bool  # deleted by retention, not by a person: its prompt is kept
    unread: str | None
    unread_negative: str | None

    @property
    def removed(self) -> bool:
        """True if somebody has deleted the clip, and with it what it was made of."""
        return self.deleted_at is not None and not self.expired


@dataclass(frozen=True, slots=True, kw_only=True)
class PastJob:
    """A job as its user sees it later. `generation` None: it has no clip."""

    job: JobRecord
    generation: GenerationRecord | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingRecord:
    """One user's rating of one aspect of one clip."""

    generation_id: str
    user_id: int
    aspect: str
    value: int  # +1 or -1
    self_vote: bool  # the user rated a clip that they asked for
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRecord:
    """A Discord user who asked for or rated a clip."""

    id: int
    name: str
    training_consent: bool
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRating:
    """A rating that may be trained on, with the clip it is about."""

    generation: GenerationRecord
    rating: RatingRecord
