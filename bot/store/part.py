"""What the parts of the store share."""

from __future__ import annotations

from bot.store.database import Database


class StorePart:
    """One concern of the store, over the common database."""

    def __init__(self, database: Database) -> None:
        self._database = database
