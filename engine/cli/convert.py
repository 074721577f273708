"""``python -m engine convert``: an original checkpoint to a model folder."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from command_line.progress import ProgressLine
from engine.checkpoints.errors import (
    OriginalCheckpointError,
    OriginalConfigError,
    OutputExistsError,
)
from engine.checkpoints.original.presets import PRESETS
from engine.cli.errors import CommandError, usage_error


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "convert",
        help="make a model folder of an original VideoCrafter checkpoint",
        description="Make a model folder of a checkpoint of the public VideoCrafter code. Progress "
        "goes to stderr, the path of the folder to stdout.",
    )
    parser.add_argument(
        "source",
        type=Path,
        metavar="SRC",
        help="model.ckpt, a safetensors file of the same tensors, or a folder with one of them",
    )
    architecture = parser.add_mutually_exclusive_group(required=True)
    architecture.add_argument("--preset", choices=tuple(PRESETS), help="a published model")
    architecture.add_argument(
        "--config", type=Path, metavar="FILE.json", help="the architecture of another one"
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="a new or empty folder"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the folder and print its path.

    Raises:
        CommandError: with code 2 for what the caller can put right in the command, else 1.
    """
    source: Path = arguments.source.expanduser()
    output: Path = arguments.output.expanduser()
    if not source.exists():
        raise usage_error(f"SRC {source}: there is no such file")
    config = arguments.preset or _read_config(arguments.config.expanduser())
    try:
        _convert(source, config, output)
    except (OriginalConfigError, OutputExistsError) as error:
        raise usage_error(str(error)) from error
    except OriginalCheckpointError as error:
        raise CommandError(str(error)) from error
    sys.stdout.write(f"{output}\n")


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except OSError as error:
        raise usage_error(f"--config {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise usage_error(f"--config {path}: cannot be read as JSON: {error}") from error
    if not isinstance(config, dict):
        raise usage_error(f"--config {path}: does not hold a JSON object")
    return config


def _convert(source: Path, config: str | Mapping[str, Any], output: Path) -> None:
    from engine.checkpoints.original.convert import convert_original

    line: ProgressLine | None = None

    def on_progress(component: str, done: int, total: int) -> None:
        nonlocal line
        if line is None:  # only now: a refused file shall leave one line on stderr
            line = ProgressLine(total, "B", scale=True)
        line.label(component)
        line.advance_to(done)

    try:
        convert_original(source, config, output, on_progress=on_progress)
    finally:
        if line is not None:
            line.close()
