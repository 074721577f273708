"""Durable state: jobs, clips, ratings, users. Knows nothing of Discord's library."""

from bot.store.errors import (
    DatabaseGoneError,
    ErrorKind,
    IllegalTransitionError,
    StoreError,
    TakenOverError,
    Trouble,
    UnknownGenerationError,
    UnknownJobError,
)
from bot.store.maintenance.backup import BackupReport, backup_database
from bot.store.maintenance.restore import (
    DatabaseThereError,
    RestoreReport,
    make_empty_database,
    restore_database,
)
from bot.store.privacy import Forgotten, StoredFiles
from bot.store.ratings import ShownClip
from bot.store.records import (
    OVERALL,
    AssetRecord,
    ClipFormat,
    ExpansionRecord,
    GenerationRecord,
    JobRecord,
    NewAsset,
    NewGeneration,
    NewJob,
    PastJob,
    RatingRecord,
    TrainingRating,
    UserRecord,
)
from bot.store.retention import StoredFile
from bot.store.session import Observer
from bot.store.states import TRANSITIONS, UNFINISHED, JobState
from bot.store.store import Store

__all__ = [
    "OVERALL",
    "TRANSITIONS",
    "UNFINISHED",
    "AssetRecord",
    "BackupReport",
    "ClipFormat",
    "DatabaseGoneError",
    "DatabaseThereError",
    "ErrorKind",
    "ExpansionRecord",
    "Forgotten",
    "GenerationRecord",
    "IllegalTransitionError",
    "JobRecord",
    "JobState",
    "NewAsset",
    "NewGeneration",
    "NewJob",
    "Observer",
    "PastJob",
    "RatingRecord",
    "RestoreReport",
    "ShownClip",
    "Store",
    "StoreError",
    "StoredFile",
    "StoredFiles",
    "TakenOverError",
    "TrainingRating",
    "Trouble",
    "UnknownGenerationError",
    "UnknownJobError",
    "UserRecord",
    "backup_database",
    "make_empty_database",
    "restore_database",
]
