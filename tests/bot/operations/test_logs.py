"""Logs: which job a line is about, in which form, in which file, and what never stands there."""

import asyncio
import io
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.operations.logs import (
    JobFilter,
    LogFileError,
    configure_logging,
    current_job,
    formatter,
    job_context,
    secrets_of,
)
from bot.settings import LogSettings, Settings

JOB, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2
TOKEN = "MTA4.G-secret.token"


class Log:
    """A logger of its own whose lines can be read."""

    def __init__(self, form: str = "text", secrets: tuple[str, ...] = ()) -> None:
        self._stream = io.StringIO()
        handler = logging.StreamHandler(self._stream)
        handler.setFormatter(formatter(LogSettings.model_validate({"format": form}), secrets))
        handler.addFilter(JobFilter())
        self.logger = logging.Logger("bot.test", logging.INFO)  # noqa: LOG001 - no global one
        self.logger.addHandler(handler)

    @property
    def lines(self) -> list[str]:
        return self._stream.getvalue().splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


def test_a_line_tells_the_job_of_its_context_once() -> None:
    log = Log()
    log.logger.info("starting")
    with job_context(JOB):
        log.logger.info("rendering")
        log.logger.info("job %s is done", JOB)
    log.logger.info("ending")
    assert [line.count(JOB) for line in log.lines] == [0, 1, 1, 0]
    assert log.lines[1].endswith(f"INFO    bot.test: rendering [job {JOB}]")


def test_programs_get_one_object_a_line() -> None:
    log = Log("json")
    with job_context(JOB):
        log.logger.warning("two\nlines, 🪁 and %s", "ümläut", extra={"size": 3})
        log.logger.info("the clip of job %s was refused", OTHER)
        log.logger.info("from the engine", extra={"job": OTHER})
    log.logger.info("nothing")
    first, named, given, last = log.objects
    assert first["message"] == "two\nlines, 🪁 and ümläut"
    assert (first["level"], first["logger"], first["job"], first["size"]) == (
        "WARNING",
        "bot.test",
        JOB,
        3,
    )
    assert first["thread"] == "MainThread"
    assert first["time"].startswith("20")
    assert (named["job"], given["job"], last["job"]) == (OTHER, OTHER, None)
    assert set(last) == {"time", "level", "logger", "message", "thread", "job"}


def test_an_error_is_one_object_with_its_traceback() -> None:
    log = Log("json")
    try:
        raise ValueError("too much")
    except ValueError:
        log.logger.exception("it failed")
    (only,) = log.objects
    assert "ValueError: too much" in only["exc_info"]


async def test_tasks_and_threads_of_a_job_inherit_it() -> None:
    async def inner() -> str | None:
        await asyncio.sleep(0)
        return current_job()

    async def about(job: str) -> list[str | None]:
        with job_context(job):
            task = asyncio.create_task(inner())
            thread = await asyncio.to_thread(current_job)
            with job_context("nested"):
                assert current_job() == "nested"
            return [await task, thread, current_job()]

    assert await asyncio.gather(about(JOB), about(OTHER)) == [[JOB] * 3, [OTHER] * 3]
    assert current_job() is None


def test_a_plain_thread_enters_the_context_itself() -> None:
    seen: list[str | None] = []

    def work() -> None:
        seen.append(current_job())
        with job_context(OTHER):
            seen.append(current_job())

    with job_context(JOB):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert seen == [None, OTHER]


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("secret", [TOKEN, 'quo"te\\d', "p@ss/wörd", "a"])
def test_secrets_are_never_written(form: str, secret: str) -> None:
    log = Log(form, (secret, TOKEN))
    log.logger.info("logging in with %s", secret)
    try:
        raise ValueError(f"401 for {TOKEN}")
    except ValueError:
        log.logger.exception("refused")
    log.logger.info("postgresql://me:p%%40ss%%2Fw%%C3%%B6rd@host")
    text = "\n".join(log.lines)
    assert TOKEN not in text
    assert "***" in text
    if len(secret) > 1:  # one letter is no secret: nothing could be read any more
        assert secret not in text
        assert json.dumps(secret)[1:-1] not in text
    if secret.startswith("p@ss"):
        assert "p%40ss" not in text
    assert "logging in" in text


def test_every_secret_of_the_settings_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", f" {TOKEN} ")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-key")
    monkeypatch.setenv("FLOOR33_DATABASE_URL", "postgresql://me:p%40ss@host/floor33")
    assert {TOKEN, "sk-key", "p%40ss", "p@ss"} <= set(secrets_of(Settings.load()))
    for name in ("DISCORD_TOKEN", "OPENAI_API_KEY", "FLOOR33_DATABASE_URL"):
        monkeypatch.delenv(name)
    assert secrets_of(Settings.load()) == []


@contextmanager
def root() -> Iterator[logging.Logger]:
    """The root logger without handlers, as a program finds it; put back at the end."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    logger.handlers.clear()
    try:
        yield logger
    finally:
        for handler in logger.handlers:
            handler.close()
        logger.handlers[:] = handlers
        logger.setLevel(level)


def settings(**log: Any) -> Settings:
    return Settings.load(overrides={"log": log})


def test_the_file_is_put_aside_by_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "logs" / "bot.log"
    wanted = settings(file=str(file), max_mb=1, keep=2, format="json")
    with root() as logger:
        configure_logging(wanted, with_file=True)
        for number in range(50):
            logger.warning("%d %s", number, "x" * 100_000)
    names = sorted(path.name for path in file.parent.iterdir())
    assert names == ["bot.log", "bot.log.1", "bot.log.2"]
    assert max(path.stat().st_size for path in file.parent.iterdir()) <= 10**6
    last = json.loads(file.read_text().splitlines()[-1])
    assert last["message"][:3] == "49 "
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 50


def test_commands_beside_the_bot_leave_its_file_alone(tmp_path: Path) -> None:
    with root() as logger:
        configure_logging(settings(file=str(tmp_path / "bot.log")))
        logger.warning("from the doctor")
    assert not (tmp_path / "bot.log").exists()


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with root() as logger:
        with pytest.raises(LogFileError, match=r"^log\.file .*bot\.log") as error:
            configure_logging(settings(file=str(tmp_path / "file" / "bot.log")), with_file=True)
        assert logger.handlers == []
    assert "\n" not in str(error.value)


def test_libraries_are_quiet_unless_they_warn() -> None:
    with root() as logger:
        configure_logging(settings(level="debug"))
        assert logger.level == logging.DEBUG
        assert not logging.getLogger("alembic.runtime").isEnabledFor(logging.INFO)
        assert logging.getLogger("discord.http").isEnabledFor(logging.WARNING)
