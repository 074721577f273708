"""The engine's command line: ``python -m engine models``, ``info``, ``install``, …"""

from __future__ import annotations

import argparse
import io
import logging
import sys
from collections.abc import Sequence

from engine.cli import convert, generate, info, install, merge, models
from engine.cli.errors import CommandError
from engine.cli.signals import ending_in_order


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 2 for wrong usage or settings, 1 otherwise."""
    parser = argparse.ArgumentParser(
        prog="python -m engine", description="Video diffusion without a bot."
    )
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
    try:
        with ending_in_order():
            parsed.run(parsed)
    except CommandError as error:
        print(error, file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
