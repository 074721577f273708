"""`python -m engine install`: a published model, from the hub to a model folder."""

from __future__ import annotations

import argparse
import re
import sys

from command_line.codes import INTERRUPTED
from engine.checkpoints.errors import InstallError, ModelLoadError
from engine.checkpoints.hub.install import install_model, is_installed
from engine.checkpoints.hub.progress import ProgressBars
from engine.checkpoints.hub.published import PUBLISHED
from engine.cli.errors import CommandError
from engine.cli.options import add_models_dir

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "install",
        help="download a published model and make it ready to run",
        description="Download a published VideoCrafter checkpoint from the model hub and make a "
        "model folder of it. When it is interrupted, running it again goes on. The licence and "
        "progress go to stderr, the path of the folder to stdout.",
        epilog="HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE are heeded.",
    )
    parser.add_argument("name", metavar="NAME", choices=tuple(PUBLISHED), help=", ".join(PUBLISHED))
    parser.add_argument("--revision", help="a branch, tag or commit of the hub (default: main)")
    parser.add_argument("--sha256", type=_sha256, help="what the downloaded file must have")
    parser.add_argument(
        "--keep-download", action="store_true", help="leave the checkpoint in the hub's cache, too"
    )
    add_models_dir(parser)
    parser.set_defaults(run=run)


def _sha256(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no SHA-256 of 64 hex digits")
    return text.lower()


def run(arguments: argparse.Namespace) -> None:
    """Install the model and print its folder.

    Raises:
        CommandError: with code 1, or 130 when it was interrupted.
    """
    model = PUBLISHED[arguments.name]
    if not is_installed(model.name, arguments.models_dir):
        sys.stderr.write(f"{model.offer}\n")
    try:
        with ProgressBars() as bars:
            folder = install_model(
                model,
                arguments.models_dir,
                revision=arguments.revision,
                sha256=arguments.sha256,
                keep_download=arguments.keep_download,
                on_progress=bars,
                on_wait=_say_that_we_wait,
            )
    except KeyboardInterrupt:
        raise CommandError(
            f"Interrupted. What has been downloaded is kept: `{model.install_command}` goes on.",
            code=INTERRUPTED,
        ) from None
    except (InstallError, ModelLoadError) as error:
        raise CommandError(str(error)) from error
    sys.stdout.write(f"{folder}\n")


def _say_that_we_wait() -> None:
    sys.stderr.write("Another process is installing it; waiting for that.\n")
