"""Durable state in SQLite: jobs, clips, ratings, users. Knows nothing of Discord's library."""

from bot.store.backup import backup_database
from bot.store.errors import (
    IllegalTransitionError,
    StoreError,
    UnknownGenerationError,
    UnknownJobError,
)
from bot.store.records import (
    OVERALL,
    AssetRecord,
    ExpansionRecord,
    GenerationRecord,
    JobKind,
    JobRecord,
    NewAsset,
    NewGeneration,
    NewJob,
    RatingRecord,
    TrainingRating,
    UserRecord,
)
from bot.store.states import TRANSITIONS, UNFINISHED, JobState
from bot.store.store import Store

__all__ = [
    "OVERALL",
    "TRANSITIONS",
    "UNFINISHED",
    "AssetRecord",
    "ExpansionRecord",
    "GenerationRecord",
    "IllegalTransitionError",
    "JobKind",
    "JobRecord",
    "JobState",
    "NewAsset",
    "NewGeneration",
    "NewJob",
    "RatingRecord",
    "Store",
    "StoreError",
    "TrainingRating",
    "UnknownGenerationError",
    "UnknownJobError",
    "UserRecord",
    "backup_database",
]
