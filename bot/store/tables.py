"""The tables, as SQLAlchemy models. They stay inside `bot.store`: callers see records.

A change here needs a new revision in `migrations/versions`; a test compares the two.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

NAMING: Final = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite itself keeps no zone, so a naive value is a mistake."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To what is kept: in UTC, naive in SQLite."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a stored time needs a time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Back to an aware time."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def utc_now() -> datetime:
    """The time now, aware, in UTC."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """The tables' common base."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar = {datetime: UtcDateTime, str: Text}


class User(Base):
    """A Discord user who asked for or rated a clip."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    name: Mapped[str]
    training_consent: Mapped[bool] = mapped_column(default=False, server_default=false())
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Block(Base):
    """Somebody who may not ask for clips; refers to no user, so that it outlives one forgotten."""

    __tablename__ = "blocks"

    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Asset(Base):
    """A file that a user gave."""

    __tablename__ = "assets"
    __table_args__ = (UniqueConstraint("path"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    path: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    mime: Mapped[str] = mapped_column(String(128))
    width: Mapped[int]
    height: Mapped[int]
    bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Job(Base):
    """A job: what a user asked for, and how far it got."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(
            "state IN ('queued', 'running', 'rendered', 'delivered', 'failed', 'cancelled')",
            name="state",
        ),
        UniqueConstraint("message_id"),
        Index("ix_jobs_state_created_at", "state", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    error: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    guild_id: Mapped[int | None] = mapped_column(BigInteger)
    channel_id: Mapped[int] = mapped_column(BigInteger)
    message_id: Mapped[int | None] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(String(16))
    prompt: Mapped[str]
    negative_prompt: Mapped[str | None]
    model: Mapped[str] = mapped_column(String(128))
    seed: Mapped[int] = mapped_column(BigInteger)
    fps: Mapped[int | None]
    steps: Mapped[int | None]
    guidance: Mapped[float | None]
    width: Mapped[int | None]
    height: Mapped[int | None]
    num_frames: Mapped[int | None]
    expand: Mapped[bool]
    upload_limit: Mapped[int] = mapped_column(BigInteger)
    interaction_token: Mapped[str | None]
    format: Mapped[str] = mapped_column(String(8), default="mp4", server_default="mp4")
    reason: Mapped[str | None] = mapped_column(String(32))
    image_asset_id: Mapped[int | None] = mapped_column(ForeignKey("assets.id"))
    # Jobs and generations refer to each other; use_alter only tells SQLAlchemy so.
    parent_generation_id: Mapped[str | None] = mapped_column(
        ForeignKey("generations.id", use_alter=True)
    )
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    image_asset: Mapped[Asset | None] = relationship(lazy="joined")
    expansion: Mapped[ExpansionRow | None] = relationship(lazy="joined", viewonly=True)


class ExpansionRow(Base):
    """The expansion of a job's prompt."""

    __tablename__ = "expansions"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    original: Mapped[str]
    expanded: Mapped[str]
    backend: Mapped[str] = mapped_column(String(64))
    language: Mapped[str] = mapped_column(String(32))
    fallback: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class ModelRevision(Base):
    """Weights that made at least one clip."""

    __tablename__ = "model_revisions"

    model: Mapped[str] = mapped_column(String(128), primary_key=True)
    revision: Mapped[str] = mapped_column(String(128), primary_key=True)
    first_used_at: Mapped[datetime] = mapped_column(default=utc_now)
    last_used_at: Mapped[datetime] = mapped_column(default=utc_now)


class Generation(Base):
    """A finished clip."""

    __tablename__ = "generations"
    __table_args__ = (
        # One clip a job: a job that is run again after a restart cannot be recorded twice.
        UniqueConstraint("job_id"),
        ForeignKeyConstraint(
            ["model", "model_revision"], ["model_revisions.model", "model_revisions.revision"]
        ),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    prompt: Mapped[str]
    expanded_prompt: Mapped[str | None]
    negative_prompt: Mapped[str | None]
    model: Mapped[str] = mapped_column(String(128))
    model_revision: Mapped[str] = mapped_column(String(128))
    seed: Mapped[int] = mapped_column(BigInteger)
    steps: Mapped[int]
    fps: Mapped[int]
    guidance: Mapped[float]
    width: Mapped[int]
    height: Mapped[int]
    num_frames: Mapped[int]
    path: Mapped[str]
    elapsed_s: Mapped[float]
    device: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    deleted_at: Mapped[datetime | None]
    expired: Mapped[bool] = mapped_column(default=False, server_default=false())
    unread: Mapped[str | None]
    unread_negative: Mapped[str | None]


class LeaseRow(Base):
    """The bot that may change the database; see `bot.store.lease`."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(String(128))
    epoch: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[datetime | None]


class Rating(Base):
    """One user's rating of one aspect of one clip."""

    __tablename__ = "ratings"
    __table_args__ = (
        UniqueConstraint("generation_id", "user_id", "aspect"),
        CheckConstraint("value IN (-1, 1)", name="value"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    generation_id: Mapped[str] = mapped_column(ForeignKey("generations.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    aspect: Mapped[str] = mapped_column(String(32))
    value: Mapped[int]
    self_vote: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now)
