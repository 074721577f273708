"""The outcome of a check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The outcome of a check: only `FAIL` keeps the bot from running."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; `advice` says what to do about it, for anything but `OK`."""

    name: str
    status: Status
    detail: str
    advice: str | None = None
