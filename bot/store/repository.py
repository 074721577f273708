"""The base class of the store's parts."""

from __future__ import annotations

from bot.store.session import Database


class StorePart:
    """One concern of the store, over the common database."""

    def __init__(self, database: Database) -> None:
        self._database = database
