"""Command line of the training package."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from training.data.command import add_data_parser, run_data
from training.errors import TrainingError
from training.evaluation.command import add_evaluate_parser, run_evaluate
from training.plan import add_plan_parser, run_plan
from training.recipe import RecipeError, load_recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; return 0, 1 (it failed) or 2 (wrong usage or settings)."""
    options = _parser().parse_args(arguments)
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
        print(f"training: {error}", file=sys.stderr)
        return 2
    except (TrainingError, OSError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="Train video models.")
    commands = parser.add_subparsers(dest="command", required=True)
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
    value = int(text)
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
