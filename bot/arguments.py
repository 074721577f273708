"""The options of ``python -m bot``. Imports nothing heavy: ``--help`` shall be there at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from command_line.parser import CommandParser, command_parser


def parse_arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; exits with code 2 and one line for wrong usage."""
    parser = _parser()
    options = parser.parse_args(given)
    if options.command == "restore" and (options.file is None) != options.empty:
        parser.error("restore needs either FILE or --empty")
    return options


def _parser() -> CommandParser:
    parser = command_parser(
        "bot",
        "Floor33, a Discord studio for video diffusion. Without DISCORD_TOKEN it is "
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
    backup.add_argument(
        "file", type=Path, metavar="FILE", help="the copy; an older one of that name is replaced"
    )
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


def _user_id(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is no user's id, which is a whole number")
    return int(text)
