"""All steps of a job's life at which Discord may fail."""

from __future__ import annotations

from typing import Final

from benchmarks.fault_cells import Cell
from benchmarks.fault_clicks import Cancel, CancelCommand, Delete, History, Send
from benchmarks.fault_jobs import (
    Acknowledgement,
    ClipAnywhere,
    ClipAsDirectMessage,
    ClipAsMessage,
    ClipByEdit,
    ClipByToken,
    FirstCard,
    Progress,
    Reactions,
)

STEPS: Final[dict[str, type[Cell]]] = {
    kind.step: kind
    for kind in (
        Acknowledgement,
        FirstCard,
        Progress,
        ClipByToken,
        ClipByEdit,
        ClipAsMessage,
        ClipAsDirectMessage,
        ClipAnywhere,
        Reactions,
        Delete,
        History,
        Send,
        Cancel,
        CancelCommand,
    )
}
