"""The earlier name of `bot.jobs.attachments`, for one release."""

from __future__ import annotations

from bot.jobs.attachments import fetch

__all__ = ["fetch"]
