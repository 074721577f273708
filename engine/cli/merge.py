"""``python -m engine merge``: a model and LoRAs to a model folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from engine.checkpoints.errors import ModelLoadError, OutputExistsError, UnknownModelError
from engine.cli.errors import CommandError, usage_error
from engine.cli.options import add_lora, add_model_dir, add_models_dir, catalog_of


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "merge",
        help="make a model folder of a model and LoRAs",
        description="Make a model folder of a model with LoRAs in its weights. The path of the "
        "folder goes to stdout.",
    )
    parser.add_argument("model", metavar="MODEL", help="a name from `python -m engine models`")
    add_lora(parser, required=True)
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="a new or empty folder"
    )
    add_model_dir(parser)
    add_models_dir(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the folder and print its path.

    Raises:
        CommandError: with code 2 for an unknown model or a used folder, else 1.
    """
    output: Path = arguments.output.expanduser()
    try:
        card = catalog_of(arguments).get(arguments.model)
    except UnknownModelError as error:
        raise usage_error(str(error)) from error
    from engine.checkpoints.merge import merge_loras

    try:
        merge_loras(card, arguments.lora, output)
    except OutputExistsError as error:
        raise usage_error(str(error)) from error
    except ModelLoadError as error:
        raise CommandError(str(error)) from error
    sys.stdout.write(f"{output}\n")
