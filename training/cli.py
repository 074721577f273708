"""Command line of the training package."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from command_line.codes import OK, OUTPUT_CLOSED, CommandError, usage_error
from command_line.parser import CommandParser, command_parser
from command_line.process import guarded
from training.data.command import add_data_parser, run_data
from training.errors import TrainingError
from training.evaluation.command import add_evaluate_parser, run_evaluate
from training.planning.plan import add_plan_parser, run_plan
from training.recipe.model import RecipeError, load_recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand and return 0, 2 for wrong usage or settings, 1 otherwise."""
    options = _parser().parse_args(arguments)
    return guarded(lambda: _carried_out(options), prefix="training: ")


def _carried_out(options: argparse.Namespace) -> int:
    """Run a subcommand; what a user can cause becomes a `CommandError`, here for all of them."""
    try:
        match options.command:
            case "run":
                return _run(options)
            case "export":
                _export(options)
            case "plan":
                return run_plan(options)
            case "data":
                return run_data(options)
            case "evaluate":
                return run_evaluate(options)
    except RecipeError as error:
        raise usage_error(str(error)) from error
    except BrokenPipeError as error:  # of a process that shared the work
        raise CommandError("nobody reads the output any more", code=OUTPUT_CLOSED) from error
    except (TrainingError, OSError) as error:
        raise CommandError(str(error)) from error
    return OK


def _parser() -> CommandParser:
    parser = command_parser("training", "Train video models.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    recipe_help = "name of a shipped recipe, or path of a .toml file"

    run = commands.add_parser("run", help="train one stage, going on where it stopped")
    run.add_argument("recipe", help=recipe_help)
    run.add_argument("--output", type=Path, help="run folder (default: runs/<recipe>)")
    run.add_argument("--processes", type=_positive, default=1, help="processes sharing each batch")
    run.add_argument("--threads", type=_positive, help="torch threads of each process")
    run.add_argument("--cpu", action="store_true", help="leave accelerators alone")
    run.add_argument(
        "--measure-peak", action="store_true", help="measure the machine, show the share reached"
    )

    export = commands.add_parser("export", help="turn a trained run into a model folder")
    export.add_argument("recipe", help=recipe_help)
    export.add_argument("--run", type=Path, help="run folder (default: runs/<recipe>)")
    export.add_argument("--output", type=Path, required=True, help="model folder to write")

    add_plan_parser(commands)
    add_data_parser(commands)
    add_evaluate_parser(commands)
    return parser


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {value}")
    return value


def _run(options: argparse.Namespace) -> int:
    from training.launch import RunOptions, train

    recipe = load_recipe(options.recipe)
    outcome = train(
        recipe,
        RunOptions(
            folder=options.output or Path("runs") / recipe.name,
            processes=options.processes,
            threads=options.threads,
            cpu=options.cpu,
            measure=options.measure_peak,
        ),
    )
    if outcome.message:
        prefix = "training: " if outcome.foreseen else ""
        print(f"{prefix}{outcome.message}", file=sys.stderr)
    return outcome.code


def _export(options: argparse.Namespace) -> None:
    from training.export import export_model

    recipe = load_recipe(options.recipe)
    export_model(recipe, options.run or Path("runs") / recipe.name, options.output)
