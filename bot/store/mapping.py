"""Map rows to records, and records to columns.

Fields and columns have the same names. The parameters of a clip, which records nest, are columns
of their own in the tables.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import inspect

from bot.store import tables
from bot.store.records import (
    AssetRecord,
    ExpansionRecord,
    GenerationRecord,
    JobRecord,
    NewAsset,
    NewGeneration,
    NewJob,
    RatingRecord,
    UserRecord,
)
from bot.store.states import JobState
from engine.params import ClipParams, ResolvedParams

Record = TypeVar(
    "Record", AssetRecord, ExpansionRecord, GenerationRecord, JobRecord, RatingRecord, UserRecord
)


def columns(record: NewAsset | NewJob | NewGeneration, table: type[tables.Base]) -> dict[str, Any]:
    """Return the values of the record that the table has columns for, by column."""
    values = {each.name: getattr(record, each.name) for each in fields(record)}
    params = values.pop("params", None)
    if isinstance(params, ClipParams):
        values |= params.stored()
    return {name: values[name] for name in _names(table) if name in values}


def asset_record(row: tables.Asset) -> AssetRecord:
    """Return the asset as a record."""
    return _record(AssetRecord, _values(row))


def expansion_record(row: tables.ExpansionRow) -> ExpansionRecord:
    """Return the expansion as a record."""
    return _record(ExpansionRecord, _values(row))


def job_record(row: tables.Job) -> JobRecord:
    """Return the job as a record."""
    values = _values(row)
    return _record(
        JobRecord,
        values,
        state=JobState(row.state),
        params=ClipParams.from_mapping(values),
        image_asset=None if row.image_asset is None else asset_record(row.image_asset),
        expansion=None if row.expansion is None else expansion_record(row.expansion),
    )


def generation_record(row: tables.Generation) -> GenerationRecord:
    """Return the generation as a record."""
    values = _values(row)
    return _record(GenerationRecord, values, params=ResolvedParams.from_mapping(values))


def rating_record(row: tables.Rating) -> RatingRecord:
    """Return the rating as a record."""
    return _record(RatingRecord, _values(row))


def user_record(row: tables.User) -> UserRecord:
    """Return the user as a record."""
    return _record(UserRecord, _values(row))


def _record(kind: type[Record], values: dict[str, Any], **others: Any) -> Record:
    values = values | others
    return kind(**{each.name: values[each.name] for each in fields(kind)})


def _values(row: tables.Base) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _names(type(row))}


def _names(table: type[tables.Base]) -> list[str]:
    return inspect(table).column_attrs.keys()
