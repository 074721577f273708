"""The fencing token of the bot that holds the lease, checked by each of its writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.store.errors import TakenOverError
from bot.store.tables import LeaseRow

LEASE_NAME: Final = "bot"
LEASE_HOLDER: Final = select(LeaseRow.owner, LeaseRow.epoch).where(LeaseRow.name == LEASE_NAME)
LEASE_HOLDER_SQL: Final = "SELECT owner, epoch FROM leases WHERE name = 'bot'"


@dataclass(frozen=True, slots=True)
class FencingToken:
    """Proof of an acquisition. The epoch grows with each, whoever acquires the lease."""

    owner: str
    epoch: int


class Fence:
    """Refuses writes once another bot has acquired the lease.

    Without a token (a maintenance command, a test) every write passes.

    Args:
        name: the database in errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.token: FencingToken | None = None
        self.broken = False

    def hold(self, token: FencingToken) -> None:
        """Let only writes under this token pass from now on."""
        self.token, self.broken = token, False

    async def check(self, session: AsyncSession, *, exclusive: bool) -> None:
        """Keep the lease from changing hands until the transaction ends.

        PostgreSQL locks its row: shared, so that writes do not wait for each other, or exclusively,
        so that this one has the database to itself. In SQLite the file's write lock does both.

        Raises TakenOverError.
        """
        query = LEASE_HOLDER.with_for_update(read=not exclusive)
        if not self.matches((await session.execute(query)).one_or_none()):
            raise TakenOverError(self._name)

    def matches(self, holder: Row[Any] | tuple[Any, ...] | None) -> bool:
        """Compare the lease's row, owner and epoch, with the token; a mismatch is remembered."""
        if self.token is not None and (
            holder is None or tuple(holder) != (self.token.owner, self.token.epoch)
        ):
            self.broken = True
        return not self.broken
