"""Row mapping: the tables' rows as records."""

from __future__ import annotations

from typing import cast

from bot.store import tables
from bot.store.records import (
    AssetRecord,
    ClipFormat,
    ExpansionRecord,
    GenerationRecord,
    JobKind,
    JobRecord,
    RatingRecord,
    UserRecord,
)
from bot.store.states import JobState


def asset_record(row: tables.Asset) -> AssetRecord:
    """The asset as a record."""
    return AssetRecord(
        id=row.id,
        kind=row.kind,
        path=row.path,
        sha256=row.sha256,
        mime=row.mime,
        width=row.width,
        height=row.height,
        bytes=row.bytes,
        created_at=row.created_at,
    )


def expansion_record(row: tables.Expansion) -> ExpansionRecord:
    """The expansion as a record."""
    return ExpansionRecord(
        job_id=row.job_id,
        original=row.original,
        expanded=row.expanded,
        backend=row.backend,
        language=row.language,
        fallback=row.fallback,
        created_at=row.created_at,
    )


def job_record(row: tables.Job) -> JobRecord:
    """The job as a record."""
    return JobRecord(
        id=row.id,
        state=JobState(row.state),
        error=row.error,
        reason=row.reason,
        attempts=row.attempts,
        user_id=row.user_id,
        guild_id=row.guild_id,
        channel_id=row.channel_id,
        message_id=row.message_id,
        kind=cast(JobKind, row.kind),  # a CHECK constraint holds it to these
        prompt=row.prompt,
        negative_prompt=row.negative_prompt,
        model=row.model,
        seed=row.seed,
        fps=row.fps,
        steps=row.steps,
        guidance=row.guidance,
        width=row.width,
        height=row.height,
        expand=row.expand,
        upload_limit=row.upload_limit,
        interaction_token=row.interaction_token,
        format=cast(ClipFormat, row.format),
        parent_generation_id=row.parent_generation_id,
        image_asset=None if row.image_asset is None else asset_record(row.image_asset),
        expansion=None if row.expansion is None else expansion_record(row.expansion),
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def generation_record(row: tables.Generation) -> GenerationRecord:
    """The generation as a record."""
    return GenerationRecord(
        id=row.id,
        job_id=row.job_id,
        prompt=row.prompt,
        expanded_prompt=row.expanded_prompt,
        negative_prompt=row.negative_prompt,
        model=row.model,
        model_revision=row.model_revision,
        seed=row.seed,
        steps=row.steps,
        fps=row.fps,
        guidance=row.guidance,
        width=row.width,
        height=row.height,
        num_frames=row.num_frames,
        path=row.path,
        elapsed_s=row.elapsed_s,
        device=row.device,
        created_at=row.created_at,
        deleted_at=row.deleted_at,
        expired=row.expired,
        unread=row.unread,
        unread_negative=row.unread_negative,
    )


def rating_record(row: tables.Rating) -> RatingRecord:
    """The rating as a record."""
    return RatingRecord(
        generation_id=row.generation_id,
        user_id=row.user_id,
        aspect=row.aspect,
        value=row.value,
        self_vote=row.self_vote,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def user_record(row: tables.User) -> UserRecord:
    """The user as a record."""
    return UserRecord(
        id=row.id,
        name=row.name,
        training_consent=row.training_consent,
        created_at=row.created_at,
    )
