"""Durable state: jobs, clips, ratings, users. Knows nothing of Discord's library."""

from bot.store.backup import Copied, backup_database
from bot.store.database import Observer
from bot.store.errors import (
    IllegalTransitionError,
    StoreError,
    TakenOverError,
    Trouble,
    UnknownGenerationError,
    UnknownJobError,
)
from bot.store.records import (
    OVERALL,
    AssetRecord,
    ClipFormat,
    ExpansionRecord,
    GenerationRecord,
    JobKind,
    JobRecord,
    NewAsset,
    NewGeneration,
    NewJob,
    PastJob,
    RatingRecord,
    TrainingRating,
    UserRecord,
)
from bot.store.restore import DatabaseThereError, Restored, restore_database
from bot.store.retention import StoredFile
from bot.store.states import TRANSITIONS, UNFINISHED, JobState
from bot.store.store import Store

__all__ = [
    "OVERALL",
    "TRANSITIONS",
    "UNFINISHED",
    "AssetRecord",
    "ClipFormat",
    "Copied",
    "DatabaseThereError",
    "ExpansionRecord",
    "GenerationRecord",
    "IllegalTransitionError",
    "JobKind",
    "JobRecord",
    "JobState",
    "NewAsset",
    "NewGeneration",
    "NewJob",
    "Observer",
    "PastJob",
    "RatingRecord",
    "Restored",
    "Store",
    "StoreError",
    "StoredFile",
    "TakenOverError",
    "TrainingRating",
    "Trouble",
    "UnknownGenerationError",
    "UnknownJobError",
    "UserRecord",
    "backup_database",
    "restore_database",
]
