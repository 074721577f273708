"""Logs for people and for programs: one line for each event, with the job it is about."""

from __future__ import annotations

import contextvars
import json
import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import discord
from pythonjsonlogger.json import JsonFormatter

from bot.settings import LogSettings, Settings

_HIDDEN: Final = "***"
_MIN_SECRET_CHARS: Final = 4
_MB: Final = 10**6
# Jobs are named in full wherever they are mentioned, by the engine too, which knows no contexts.
_JOB: Final = re.compile(r"\bjob ([0-9a-f]{32})\b")
_TEXT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s%(job_note)s"
_JSON: Final = "%(levelname)s %(name)s %(message)s %(threadName)s"
# Their INFO is about every request and every migration step.
_QUIET: Final = ("httpx", "httpx2", "alembic", "aiosqlite", "discord.http", "aiohttp.access")

_job: contextvars.ContextVar[str | None] = contextvars.ContextVar("floor33_job", default=None)


class LogFileError(Exception):
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
    """Another formatter's lines, tracebacks included, without the secrets."""

    def __init__(self, inner: logging.Formatter, secrets: Iterable[str]) -> None:
        super().__init__()
        self._inner = inner
        spelled = {form for secret in secrets for form in _spellings(secret)}
        # Longest first: a secret may be a part of another one.
        patterns = sorted(map(re.escape, spelled), key=len, reverse=True)
        self._secrets = re.compile("|".join(patterns)) if patterns else None

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = self._inner.format(record)
        return line if self._secrets is None else self._secrets.sub(_HIDDEN, line)


def _spellings(secret: str) -> Iterator[str]:
    """The secret as it may stand in a log: as it is, in JSON, in an address."""
    if len(secret) >= _MIN_SECRET_CHARS:
        yield secret
        yield json.dumps(secret)[1:-1]
        yield quote(secret, safe="")


def secrets_of(settings: Settings) -> list[str]:
    """What must never be logged: token, key, the database's password."""
    given = (settings.discord.token, settings.expansion.api_key)
    found = [secret.get_secret_value().strip() for secret in given if secret is not None]
    if settings.database.url is not None:
        address = settings.database.url.get_secret_value()
        password = urlsplit(address).netloc.rpartition("@")[0].partition(":")[2]
        found += [password, unquote(password)]
    return found


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
    """What every record has: only what was given as `extra` is of interest beside the format."""
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
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def _file_handler(settings: LogSettings, path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return RotatingFileHandler(
            path, maxBytes=settings.max_mb * _MB, backupCount=settings.keep, encoding="utf-8"
        )
    except OSError as error:
        raise LogFileError(f"log.file {path}: {error.strerror or error}") from error
