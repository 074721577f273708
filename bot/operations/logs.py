"""Logs for people and for programs: one line for each event, with the job it is about."""

from __future__ import annotations

import contextvars
import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import discord
from pythonjsonlogger.json import JsonFormatter

from bot.errors import BotError
from bot.files import make_private_folder, open_private
from bot.settings import LogSettings, Settings
from bot.settings.known_secrets import secrets_of
from bot.settings.secrets import Redactor

if TYPE_CHECKING:
    from io import TextIOWrapper

__all__ = [
    "JobFilter",
    "LogFileError",
    "Redacting",
    "configure_logging",
    "current_job",
    "formatter",
    "job_context",
    "secrets_of",
]

_MB: Final = 10**6
# Jobs are named in full wherever they are mentioned, by the engine too, which knows no contexts.
_JOB: Final = re.compile(r"\bjob ([0-9a-f]{32})\b")
_TEXT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s%(job_note)s"
_JSON: Final = "%(levelname)s %(name)s %(message)s %(threadName)s"
# Their INFO is about every request and every migration step, their DEBUG holds what people typed.
_QUIET: Final = (
    "aiohttp.access",
    "aiosqlite",
    "alembic",
    "discord.http",
    "discord.webhook",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "openai",
    "sqlalchemy",
)
# Their DEBUG is every event of Discord, with tokens and words.
_NO_DEBUG: Final = ("discord.client", "discord.gateway", "discord.state")

_job: contextvars.ContextVar[str | None] = contextvars.ContextVar("floor33_job", default=None)


class LogFileError(BotError):
    """The log's file cannot be written; one line that says why."""


@contextmanager
def job_context(job_id: str) -> Iterator[None]:
    """Whatever is logged in the block, and in the tasks and threads it starts, is about this job.

    Threads that are started with `asyncio.to_thread` count; others must enter it themselves.
    """
    token = _job.set(job_id)
    try:
        yield
    finally:
        _job.reset(token)


def current_job() -> str | None:
    """The job of the context, if there is one."""
    return _job.get()


class JobFilter(logging.Filter):
    """Gives every record `job` (an id or None) and `job_note` (" [job …]" unless it is said).

    The job is the one in `extra={"job": …}`, else the one that the message names, else that of the
    context.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Always True."""
        named = _JOB.search(record.getMessage())
        job = getattr(record, "job", None) or (named[1] if named else _job.get())
        record.job = job
        record.job_note = "" if job is None or named else f" [job {job}]"
        return True


class Redacting(logging.Formatter):
    """Another formatter's lines, tracebacks included, without secrets; see `Redactor`."""

    def __init__(self, inner: logging.Formatter, secrets: Iterable[str]) -> None:
        super().__init__()
        self._inner = inner
        self._redacted = Redactor(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return self._redacted(self._inner.format(record))


def formatter(settings: LogSettings, secrets: Iterable[str]) -> logging.Formatter:
    """The formatter that the settings ask for, without the secrets. Needs `JobFilter`."""
    inner: logging.Formatter
    if settings.format == "json":
        inner = JsonFormatter(
            _JSON,
            timestamp="time",
            rename_fields={"levelname": "level", "name": "logger", "threadName": "thread"},
            reserved_attrs=[*_reserved(), "job_note"],
            json_ensure_ascii=False,
        )
    else:
        inner = logging.Formatter(_TEXT)
    return Redacting(inner, secrets)


def _reserved() -> list[str]:
    """Return the attributes of every record; beside the format, only `extra` is of interest."""
    return [*vars(logging.makeLogRecord({})), "message", "asctime", "color_message"]


def configure_logging(settings: Settings, *, with_file: bool = False) -> None:
    """Log to standard error; standard output belongs to what commands print.

    Args:
        settings: level, format and file; and what must not be logged.
        with_file: log to the file of the settings, too. For one process at a time.

    Raises:
        LogFileError: the file cannot be opened.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if with_file and settings.log.file is not None:
        handlers.append(_file_handler(settings.log, settings.log.file))
    lines = formatter(settings.log, secrets_of(settings))
    for handler in handlers:
        handler.setFormatter(lines)
        handler.addFilter(JobFilter())
    logging.basicConfig(level=settings.log.level, handlers=handlers)
    # This bot never speaks: it needs nothing that discord.py would warn about.
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
    # The preview's simulation probes discord.py with a client that hears nothing.
    logging.getLogger("discord.state").addFilter(lambda record: "intent" not in str(record.msg))
    for names, least in ((_QUIET, logging.WARNING), (_NO_DEBUG, logging.INFO)):
        for name in names:
            logging.getLogger(name).setLevel(max(least, logging.getLogger().level))


class _PrivateFileHandler(RotatingFileHandler):
    """Its files are for this user only, also those put aside."""

    def _open(self) -> TextIOWrapper:
        return cast(
            "TextIOWrapper",
            open_private(self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors),
        )


def _file_handler(settings: LogSettings, path: Path) -> logging.Handler:
    try:
        make_private_folder(path.parent)
        return _PrivateFileHandler(
            path, maxBytes=settings.max_mb * _MB, backupCount=settings.keep, encoding="utf-8"
        )
    except OSError as error:
        raise LogFileError(f"log.file {path}: {error.strerror or error}") from error
