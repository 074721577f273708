"""The engine's command line: ``python -m engine models``, ``info``, ``install``, …"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Sequence

from command_line.codes import OK
from command_line.parser import command_parser
from command_line.process import guarded, run_process
from engine.cli import convert, generate, info, install, merge, models


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code: 0, 2 for wrong usage or settings, 1 otherwise."""
    parser = command_parser("engine", "Video diffusion without a bot.")
    parser.add_argument("--verbose", action="store_true", help="show what the engine logs")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (models, info, install, generate, convert, merge):
        command.add_parser(commands)
    parsed = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without the letters of some title
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO if parsed.verbose else logging.CRITICAL,
        format="%(levelname)s %(name)s: %(message)s",
    )

    def work() -> int:
        parsed.run(parsed)
        return OK

    return guarded(work)


if __name__ == "__main__":
    run_process(main)
