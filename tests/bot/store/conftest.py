"""A real store in a folder of its own, and small ways to fill it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.store import Store


@pytest.fixture
def database_path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "floor33.db"


@pytest.fixture
async def store(database_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(database_path) as opened:
        yield opened
