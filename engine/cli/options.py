"""Options that several commands share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from engine.checkpoints.catalog import Catalog
from engine.checkpoints.folder.lora import LoraSource
from engine.cli.errors import usage_error


def add_model_dir(parser: argparse.ArgumentParser) -> None:
    """`--model-dir NAME=FOLDER`, any number of times; gives a list of pairs."""
    parser.add_argument(
        "--model-dir",
        action="append",
        default=[],
        type=_model_dir,
        metavar="NAME=FOLDER",
        help="a further model, beside those that are shipped",
    )


def add_models_dir(parser: argparse.ArgumentParser) -> None:
    """`--models-dir FOLDER`; the bot's own folder where the bot has no settings file."""
    parser.add_argument(
        "--models-dir",
        type=lambda text: Path(text).expanduser(),
        default=default_models_dir(),
        metavar="FOLDER",
        help="where models are installed (default: models in $FLOOR33_DATA_DIR, else data/models)",
    )


def add_lora(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """`--lora PATH[=WEIGHT]`, any number of times; gives a list of `LoraSource`."""
    parser.add_argument(
        "--lora",
        action="append",
        default=None if required else [],
        required=required,
        type=_lora,
        metavar="PATH[=WEIGHT]",
        help="a LoRA file or folder, and how much it counts (default: 1)",
    )


def default_models_dir() -> Path:
    """`models` in the data folder."""
    return Path(os.environ.get("FLOOR33_DATA_DIR", "").strip() or "data").expanduser() / "models"


def check_given_paths(arguments: argparse.Namespace) -> None:
    """Raise a usage error for a LoRA or a model folder that was named and is not there."""
    for source in getattr(arguments, "lora", None) or ():
        if not source.path.exists():
            raise usage_error(f"--lora {source.path}: there is no such file or folder")
    for name, folder in arguments.model_dir:
        if not folder.is_dir():
            raise usage_error(f"--model-dir {name}={folder}: there is no such folder")


def catalog_of(arguments: argparse.Namespace) -> Catalog:
    """The models that both options make known. Raises a usage error as `check_given_paths`."""
    check_given_paths(arguments)
    return Catalog(dict(arguments.model_dir), models_dir=arguments.models_dir)


def _lora(text: str) -> LoraSource:
    path, equals, weight = text.rpartition("=")
    try:
        source = (path, float(weight)) if equals else (text, 1.0)
    except ValueError:
        source = (text, 1.0)  # the sign belongs to the name of the file
    if not source[0]:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form PATH or PATH=WEIGHT")
    try:
        return LoraSource(Path(source[0]).expanduser(), source[1])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _model_dir(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=FOLDER")
    return name, Path(folder).expanduser()
