"""`python -m bot`: run the bot, or look after its installation."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.arguments import parse_arguments
from bot.signals import GracefulStop, until_signal
from command_line.codes import FAILED, INTERRUPTED, OK, USAGE
from command_line.process import run_process, was_interrupted

# What needs discord.py or torch is imported where it is used: neither --help nor a wrong option
# shall wait for seconds.
if TYPE_CHECKING:
    import argparse

    from bot.settings import Settings

_SERVER = "{} is for SQLite; the database is on a PostgreSQL server: use {} (docs/operations.md)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code.

    0; 2 for wrong usage or settings; 130 if it was interrupted, but 0 for the bot itself, which
    ends in that way; otherwise 1.
    """
    options = parse_arguments(arguments)
    from bot.files import private_umask

    # Whatever this process writes holds what people typed; only models are everybody's.
    with private_umask() as before:
        try:
            return _command(options, before)
        except KeyboardInterrupt:
            if _runs_the_bot(options):
                return OK
            return _fail("interrupted", INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - the edge: nobody else takes the secrets out
            if was_interrupted(error):
                return OK if _runs_the_bot(options) else INTERRUPTED
            sys.stderr.write(_redacted(traceback.format_exc()))
            return FAILED


def _runs_the_bot(options: argparse.Namespace) -> bool:
    return options.command in (None, "run")


def _command(options: argparse.Namespace, usual_umask: int) -> int:
    from bot.operations.logs import LogFileError, configure_logging
    from bot.settings import Settings, SettingsError

    try:
        settings = Settings.load(options.config)
    except SettingsError as error:
        return _fail(str(error), USAGE)
    try:
        # One process at a time may put a log file aside: the one that runs the bot.
        configure_logging(settings, with_file=_runs_the_bot(options))
    except LogFileError as error:
        return _fail(str(error))
    match options.command:
        case "doctor":
            from bot.doctor.run import run_doctor

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
            return _sync_commands(settings, options.guild)
        case _:
            end = GracefulStop()
            return _prepare(settings, usual_umask) or _run(_serve(settings, end), end)


def _fail(message: str, code: int = FAILED) -> int:
    print(_redacted(f"floor33: {message}"), file=sys.stderr)
    return code


def _redacted(text: str) -> str:
    """The text without what is secret in the environment: also before the log is set up."""
    from bot.settings.secrets import Redactor, secrets_of_environment

    return Redactor(secrets_of_environment())(text)


def _backup(settings: Settings, file: Path) -> int:
    from bot.store import StoreError, backup_database

    if settings.database.url is not None:
        return _fail(_SERVER.format("backup", "pg_dump"), USAGE)
    replaced = file.exists()
    try:
        copied = backup_database(settings.database_path, file)
    except StoreError as error:
        return _fail(str(error))
    for missing in copied.missing:
        print(f"floor33: {missing} is gone; its job will fail", file=sys.stderr)
    instead = ", in the place of the file that was there" if replaced else ""
    print(
        f"{settings.database_path} copied to {file}{instead}, "
        f"with {copied.files} files of unfinished jobs"
    )
    return OK


def _restore(settings: Settings, file: Path, *, force: bool) -> int:
    from bot.store import StoreError, restore_database

    if settings.database.url is not None:
        return _fail(_SERVER.format("restore", "pg_restore"), USAGE)
    if not file.is_file():
        return _fail(f"there is no backup at {file}", USAGE)
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
    from bot.files import umask
    from bot.lifecycle.install_models import ensure_models_installed
    from bot.lifecycle.requirements import StartupError, check_requirements
    from bot.settings import SettingsError

    try:
        check_requirements(settings)
        if settings.discord.token is not None:
            _token(settings)
        with umask(usual_umask):
            ensure_models_installed(settings)
    except SettingsError as error:
        return _fail(str(error), USAGE)
    except StartupError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        print("floor33: stopped; the next start goes on with the download", file=sys.stderr)
        raise
    return OK


def _sync_commands(settings: Settings, guild_id: int | None) -> int:
    from bot.settings import SettingsError

    try:
        token = _token(settings)
    except SettingsError as error:
        return _fail(str(error), USAGE)
    return _run(_sync(settings, token, guild_id), stopped=INTERRUPTED)


def _run(
    work: Coroutine[Any, Any, None], end: GracefulStop | None = None, *, stopped: int = OK
) -> int:
    """Run the work until it ends; `stopped` is the exit code when a signal ended it."""
    end = end or GracefulStop()
    try:
        asyncio.run(until_signal(work, end))
    except KeyboardInterrupt:
        return stopped
    except Exception as error:
        from bot.lifecycle.requirements import SETTINGS_ERRORS, explain

        line = explain(error)
        if line is None:
            raise
        return _fail(line, USAGE if isinstance(error, SETTINGS_ERRORS) else FAILED)
    return stopped if end.stopped else OK


async def _serve(settings: Settings, end: GracefulStop) -> None:
    if settings.discord.token is None:
        from bot.preview import run_preview

        await run_preview(settings, _announce)
        return
    from bot.app import create_bot
    from bot.lifecycle.requirements import StartupError

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


async def _sync(settings: Settings, token: str, guild_id: int | None) -> None:
    from bot.app import CommandsOnlyBot
    from bot.lifecycle.sync import run_sync

    count = await run_sync(CommandsOnlyBot(settings), token, guild_id)
    print(f"{count} commands synced")


def _token(settings: Settings) -> str:
    """The token. Raises SettingsError for none, and for what cannot be one."""
    from bot.settings import SettingsError

    if settings.discord.token is None:
        raise SettingsError(
            "discord.token",
            "DISCORD_TOKEN is not set; set it to the bot's token "
            "(https://discord.com/developers/applications, page Bot)",
        )
    token = settings.discord.token.get_secret_value().strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError(
            "discord.token", "DISCORD_TOKEN has characters that no token has; copy it again"
        )
    return token


if __name__ == "__main__":
    run_process(main)
