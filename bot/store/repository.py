"""The base class of the store's repositories."""

from __future__ import annotations

from bot.store.session import Database


class Repository:
    """One concern of the store, over the common database."""

    def __init__(self, database: Database) -> None:
        self._database = database
