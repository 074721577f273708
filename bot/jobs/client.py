"""The bot as its commands see it: with the service that takes jobs."""

from __future__ import annotations

from bot.jobs.clips import ClipActions
from bot.jobs.service import JobService
from bot.protocols import BotClient


class StudioClient(BotClient):
    """The Discord client to which groups of commands are added."""

    jobs: JobService
    clips: ClipActions
