"""The result of a diagnostic check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The outcome of a check: only `FAIL` keeps the bot from running."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class DiagnosticResult:
    """The result of one check; `advice` says how to repair it, for anything but `OK`."""

    name: str
    status: Status
    detail: str
    advice: str | None = None
