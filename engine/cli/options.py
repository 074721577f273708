"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_model_dir(parser: argparse.ArgumentParser) -> None:
    """``--model-dir NAME=FOLDER``, any number of times; gives a list of pairs."""
    parser.add_argument(
        "--model-dir",
        action="append",
        default=[],
        type=_model_dir,
        metavar="NAME=FOLDER",
        help="a further model, beside those that are shipped",
    )


def _model_dir(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=FOLDER")
    return name, Path(folder).expanduser()
