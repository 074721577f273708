"""The parser of a command line: one-line errors, the version, the list of commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any, NoReturn

from command_line.codes import USAGE

_DISTRIBUTION = "floor33"


class CommandParser(argparse.ArgumentParser):
    """Answers wrong usage with one line, and a command that is left out with the list of commands.

    The parsers of subcommands are of this class, too, as `add_subparsers` takes that of its parent.
    """

    def error(self, message: str) -> NoReturn:
        """Write one line on stderr and exit with code 2."""
        self.exit(USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")

    # typeshed's overloads are about the type of `namespace`, which is passed on as it is.
    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse as ever, unless a command is wanted and nothing at all is given."""
        given = sys.argv[1:] if args is None else args
        if not given and self._wants_command():
            self.print_help(sys.stderr)
            self.exit(USAGE)
        return super().parse_known_args(args, namespace)

    def _wants_command(self) -> bool:
        return self._subparsers is not None and any(
            isinstance(action, argparse._SubParsersAction) and action.required
            for action in self._subparsers._group_actions
        )


class _ShowVersion(argparse.Action):
    """`--version`; the installed distribution is looked up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(
            option_strings, argparse.SUPPRESS, nargs=0, help="print the version and exit"
        )

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        try:
            version = metadata.version(_DISTRIBUTION)
        except metadata.PackageNotFoundError:  # run from a source tree that was never installed
            version = "(not installed)"
        print(f"{_DISTRIBUTION} {version}")
        parser.exit()


def command_parser(module: str, description: str, **more: Any) -> CommandParser:
    """Return the parser of `python -m MODULE`, which knows `--version`."""
    parser = CommandParser(prog=f"python -m {module}", description=description, **more)
    parser.add_argument("--version", action=_ShowVersion)
    return parser
