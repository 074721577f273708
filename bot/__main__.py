"""`python -m bot`: run the bot, or look after its installation."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from bot.files import private_umask, umask
from bot.installing import install_wanted
from bot.operations.logs import LogFileError, configure_logging
from bot.settings import Settings, SettingsError
from bot.settings.secrets import Redactor, secrets_of_environment
from bot.startup import (
    SETTINGS_ERRORS,
    StartupError,
    check_requirements,
    explain,
)

logger = logging.getLogger("bot")

OK, FAILED, USAGE = 0, 1, 2
_SERVER = "{} is for SQLite; the database is on a PostgreSQL server: use {} (docs/operations.md)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0, 1 (it failed) or 2 (wrong usage or settings)."""
    options = _arguments(arguments)
    # Whatever this process writes holds what people typed; only models are everybody's.
    with private_umask() as before:
        try:
            return _command(options, before)
        except Exception:  # noqa: BLE001 - the outermost edge: nobody else takes the secrets out
            sys.stderr.write(_redacted(traceback.format_exc()))
            return FAILED


def _command(options: argparse.Namespace, usual_umask: int) -> int:
    try:
        settings = Settings.load(options.config)
    except SettingsError as error:
        return _fail(str(error), USAGE)
    try:
        # One process at a time may put a log file aside: the one that runs the bot.
        configure_logging(settings, with_file=options.command in (None, "run"))
    except LogFileError as error:
        return _fail(str(error))
    match options.command:
        case "doctor":
            from bot.doctor import run_doctor

            return run_doctor(settings, as_json=options.json, fix=options.fix)
        case "backup":
            return _backup(settings, options.file)
        case "restore":
            if options.empty:
                return _begin_anew(settings, force=options.force)
            return _restore(settings, options.file, force=options.force)
        case "forget":
            return _forget(settings, options.user_id)
        case "export":
            return _export(settings, options.user_id, options.output)
        case "sync":
            return _run(_sync(settings, options.guild))
        case _:
            end = Ending()
            return _prepare(settings, usual_umask) or _run(_serve(settings, end), end)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bot",
        description="Floor33, a Discord studio for video diffusion. Without DISCORD_TOKEN it is "
        "served in a page of the local browser.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (default: bot.toml)")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("run", help="run the bot (the default)")
    doctor = commands.add_parser("doctor", help="check the installation")
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.add_argument(
        "--fix", action="store_true", help="first make the bot's files private to this account"
    )
    backup = commands.add_parser("backup", help="copy the database while the bot runs")
    backup.add_argument("file", type=Path, metavar="FILE")
    restore = commands.add_parser("restore", help="put a backup in the database's place")
    restore.add_argument("file", type=Path, metavar="FILE", nargs="?")
    restore.add_argument(
        "--empty", action="store_true", help="instead of FILE: begin anew, without a backup"
    )
    restore.add_argument("--force", action="store_true", help="even where there is a database")
    forget = commands.add_parser("forget", help="delete everything that is kept of a person")
    forget.add_argument("user_id", type=_user_id, metavar="USER_ID", help="their id in Discord")
    export = commands.add_parser("export", help="show everything that is kept of a person, as JSON")
    export.add_argument("user_id", type=_user_id, metavar="USER_ID", help="their id in Discord")
    export.add_argument("--output", type=Path, metavar="FILE", help="write it there, not on stdout")
    sync = commands.add_parser("sync", help="tell Discord which commands there are")
    sync.add_argument("--guild", type=int, metavar="ID", help="in one server only, at once")
    return parser


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(given)
    if options.command == "restore" and (options.file is None) != options.empty:
        parser.error("restore needs either FILE or --empty")
    return options


def _user_id(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is no user's id, which is a whole number")
    return int(text)


def _fail(message: str, code: int = FAILED) -> int:
    print(_redacted(f"floor33: {message}"), file=sys.stderr)
    return code


def _redacted(text: str) -> str:
    """The text without what is secret in the environment: also before the log is set up."""
    return Redactor(secrets_of_environment())(text)


def _backup(settings: Settings, file: Path) -> int:
    from bot.store import StoreError, backup_database

    if settings.database.url is not None:
        return _fail(_SERVER.format("backup", "pg_dump"), USAGE)
    try:
        copied = backup_database(settings.database_path, file)
    except StoreError as error:
        return _fail(str(error))
    for missing in copied.missing:
        print(f"floor33: {missing} is gone; its job will fail", file=sys.stderr)
    print(
        f"{settings.database_path} copied to {file}, with {copied.files} files of unfinished jobs"
    )
    return OK


def _restore(settings: Settings, file: Path, *, force: bool) -> int:
    from bot.store import StoreError, restore_database

    if settings.database.url is not None:
        return _fail(_SERVER.format("restore", "pg_restore"), USAGE)
    try:
        restored = restore_database(file, settings.database_path, force=force)
    except StoreError as error:
        return _fail(str(error))
    print(
        f"{settings.database_path} restored from {file} (schema {restored.revision}), "
        f"with {restored.files} files of unfinished jobs"
    )
    if restored.refused:
        print(
            f"floor33: {restored.refused} clips or pictures named a file outside the data folder; "
            "they count as deleted",
            file=sys.stderr,
        )
    _tell_aside(restored.aside)
    return OK


def _forget(settings: Settings, user_id: int) -> int:
    from bot.operations.privacy import forget
    from bot.store import StoreError

    try:
        print(asyncio.run(forget(settings, user_id)))
    except StoreError as error:
        return _fail(str(error))
    return OK


def _export(settings: Settings, user_id: int, file: Path | None) -> int:
    from bot.operations.privacy import export, write_private
    from bot.store import StoreError

    try:
        text = asyncio.run(export(settings, user_id, ascii_only=file is None))
        if file is not None:
            write_private(file, text)
            print(f"written to {file}, which only this account can read")
            return OK
    except StoreError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{file}: {error.strerror or error}")
    print(text, end="")
    return OK


def _begin_anew(settings: Settings, *, force: bool) -> int:
    from bot.store import StoreError, make_empty_database

    if settings.database.url is not None:
        return _fail(_SERVER.format("restore", "dropdb and createdb"), USAGE)
    try:
        aside = make_empty_database(settings.database_path, force=force)
    except StoreError as error:
        return _fail(str(error))
    print(f"{settings.database_path} is new and empty; clips that are there stay where they are")
    _tell_aside(aside)
    return OK


def _tell_aside(aside: Path | None) -> None:
    if aside is not None:
        print(f"the database that was there is now {aside}")


def _prepare(settings: Settings, usual_umask: int) -> int:
    """Whatever must be there before the bot starts, downloads included; the exit code."""
    try:
        check_requirements(settings)
        if settings.discord.token is not None:
            _token(settings)
        with umask(usual_umask):
            install_wanted(settings)
    except SettingsError as error:
        return _fail(str(error), USAGE)
    except StartupError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("stopped; the next start goes on with the download")
    return OK


def _run(work: Coroutine[Any, Any, None], end: Ending | None = None) -> int:
    try:
        asyncio.run(_until_signal(work, end or Ending()))
    except KeyboardInterrupt:
        return OK
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        return _fail(line, USAGE if isinstance(error, SETTINGS_ERRORS) else FAILED)
    return OK


class Ending:
    """What is done between SIGTERM and the end; the work sets it once there is something to do."""

    async def nothing(self) -> None:
        """The default of `prepare`."""

    def __init__(self) -> None:
        self.prepare: Callable[[], Coroutine[Any, Any, None]] = self.nothing


async def _until_signal(work: Coroutine[Any, Any, None], end: Ending) -> None:
    """Run the work. Ctrl-C ends it, and so does SIGTERM (how a service is stopped), in peace.

    A second signal ends the peace.
    """
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    stopped = False
    preparing: asyncio.Task[None] | None = None

    def stop(_done: object = None) -> None:
        nonlocal stopped
        stopped = True
        task.cancel()

    def stop_in_peace() -> None:
        nonlocal preparing
        if preparing is not None:
            stop()
            return
        preparing = loop.create_task(end.prepare())
        preparing.add_done_callback(stop)

    for number, handler in ((signal.SIGTERM, stop_in_peace), (signal.SIGINT, stop)):
        try:
            loop.add_signal_handler(number, handler)
        except NotImplementedError:  # Windows: Ctrl-C arrives as KeyboardInterrupt
            break
    try:
        await task
    except asyncio.CancelledError:
        if not stopped:
            raise
    finally:
        if preparing is not None:
            preparing.cancel()
            await asyncio.gather(preparing, return_exceptions=True)


async def _serve(settings: Settings, end: Ending) -> None:
    if settings.discord.token is None:
        from bot.preview import run_preview

        await run_preview(settings, _announce)
        return
    from bot.app import create_bot

    async with create_bot(settings) as bot:
        end.prepare = bot.drain
        await bot.start(_token(settings))
        if bot.failure is not None:
            raise StartupError(bot.failure)


def _announce(address: str) -> None:
    print(
        f"DISCORD_TOKEN is not set, so the local preview runs (Ctrl-C ends it): {address}",
        flush=True,
    )


async def _sync(settings: Settings, guild_id: int | None) -> None:
    from bot.sync import run_sync

    count = await run_sync(settings, _token(settings), guild_id)
    print(f"{count} commands synced")


def _token(settings: Settings) -> str:
    if settings.discord.token is None:
        raise StartupError("DISCORD_TOKEN is not set")
    token = settings.discord.token.get_secret_value().strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise StartupError("DISCORD_TOKEN has characters that no token has; copy it again")
    return token


if __name__ == "__main__":
    sys.exit(main())
