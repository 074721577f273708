"""The slow tests and the reason why each is slow; `pytest -m "not slow"` leaves them out.

A name is a file of tests below `tests/`, or one test of a file. What is not named here takes less
than about a second.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

REASONS: dict[str, str] = {}


def reason(item: pytest.Item) -> str | None:
    """Return why a test is slow; None if it is not."""
    path = item.path.resolve()
    if not path.is_relative_to(HERE):
        return None
    file = path.relative_to(HERE).as_posix()
    name = getattr(item, "originalname", None) or item.name
    return REASONS.get(f"{file}::{name}") or REASONS.get(file)


def mark(items: Iterable[pytest.Item]) -> None:
    """Give each slow test its mark."""
    for item in items:
        if why := reason(item):
            item.add_marker(pytest.mark.slow(reason=why))
