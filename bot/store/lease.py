"""The lease on a database: the most recently started bot holds it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import socket
import uuid
from datetime import timedelta
from typing import Final

from sqlalchemy import Update, select, update

from bot.store.errors import StoreError, TakenOverError
from bot.store.fencing import LEASE_HOLDER, LEASE_HOLDER_SQL, LEASE_NAME, FencingToken
from bot.store.session import Database
from bot.store.tables import LeaseRow, utc_now
from bot.store.upsert import upsert

logger = logging.getLogger(__name__)

LEASE_DURATION: Final = timedelta(seconds=30)
_RENEW_S: Final = 10.0
_LOOK_S: Final = 1.0
_RELEASE_S: Final = 2.0


class Lease:
    """The right to change a database, of one bot at a time, on SQLite and PostgreSQL alike.

    A row has its owner, its epoch and when it expires. A bot that starts acquires the lease from
    whoever has it, alive or not, under the next epoch, and the one before can commit nothing any
    more. The expiry, which a heartbeat puts off, only tells whether the one before had ended.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._fence = database.fence
        host = socket.gethostname().encode("ascii", "replace").decode()[:64]
        self.owner = f"{host}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        self._heartbeat: asyncio.Task[None] | None = None
        self._released = False

    async def acquire(self) -> None:
        """Take the lease, and keep it alive until `release`. Raises StoreError."""
        await self._stop_heartbeat()
        row = {"owner": self.owner, "expires_at": utc_now() + LEASE_DURATION}
        async with self._database.write(fenced=False) as session:
            query = select(LeaseRow.owner, LeaseRow.expires_at).where(LeaseRow.name == LEASE_NAME)
            previous = (await session.execute(query)).one_or_none()
            epoch = await session.scalar(
                upsert(
                    session,
                    LeaseRow,
                    {"name": LEASE_NAME, "epoch": 1, **row},
                    key=[LeaseRow.name],
                    changes={"epoch": LeaseRow.epoch + 1, **row},
                ).returning(LeaseRow.epoch)
            )
        self._fence.hold(FencingToken(self.owner, int(epoch or 0)))
        self._released = False
        if previous is not None and previous.expires_at and previous.expires_at > utc_now():
            logger.info("took over from %s, which had not ended", previous.owner)
        # It belongs to no interaction, and to no simulated Discord with a clock of its own.
        loop = asyncio.get_running_loop()
        self._heartbeat = contextvars.Context().run(loop.create_task, self._keep())

    async def renew(self) -> None:
        """Put the expiry off. Raises TakenOverError, StoreError."""
        async with self._database.write(exclusive=True, wait=False) as session:
            await session.execute(_change().values(expires_at=utc_now() + LEASE_DURATION))

    async def release(self) -> None:
        """Give the lease back, if that is quickly done: the next bot does not depend on it."""
        await self._stop_heartbeat()
        if self._fence.token is None or self._fence.broken or self._released:
            return
        self._released = True
        try:
            async with (
                asyncio.timeout(_RELEASE_S),
                self._database.write(exclusive=True, wait=False) as session,
            ):
                await session.execute(_change().values(owner="", expires_at=None))
        except (StoreError, TimeoutError) as error:
            logger.debug("the lease was not released: %s", error)

    def is_held(self) -> bool:
        """Return True if the lease was acquired, and no other bot is known to have acquired it."""
        held = self._fence.token is not None and not self._released
        return held and not self.is_lost()

    def is_lost(self) -> bool:
        """Return True if another bot has acquired the lease since this one did.

        SQLite knows at once; of a server's database, the heartbeat or the next write finds out.
        """
        if self._fence.token is not None and not self._fence.broken and not self._released:
            holders = self._database.backend.read_now(LEASE_HOLDER_SQL)
            if holders is not None:
                self._fence.matches(holders[0] if holders else None)
        return self._fence.broken

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + _RENEW_S
        while not self._fence.broken:
            await asyncio.sleep(_LOOK_S)
            try:
                if loop.time() < due:
                    await self._look()
                else:
                    due = loop.time() + _RENEW_S
                    await self.renew()
            except TakenOverError:
                break
            except StoreError as error:  # whoever writes is told; another bot may take over
                logger.debug("the lease was not renewed: %s", error)
        logger.warning("database %s: another bot has taken over", self._database.backend.name)

    async def _look(self) -> None:
        backend = self._database.backend
        with backend.translated():
            async with backend.reader.connect() as connection:
                self._fence.matches((await connection.execute(LEASE_HOLDER)).one_or_none())

    async def _stop_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._heartbeat
            self._heartbeat = None


def _change() -> Update:
    """An update of the row, which the fence has found to be ours."""
    return update(LeaseRow).where(LeaseRow.name == LEASE_NAME)
