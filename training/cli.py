"""Command line of the training package."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from training.loop import TrainingError
from training.recipe import Recipe, RecipeError, load_recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; return 0, 1 (it failed) or 2 (wrong usage or settings)."""
    options = _parser().parse_args(arguments)
    try:
        match options.command:
            case "run":
                _run(options)
            case "export":
                _export(options)
            case "evaluate":
                return _evaluate(options)
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

    export = commands.add_parser("export", help="turn a trained run into a model folder")
    export.add_argument("recipe", help=recipe_help)
    export.add_argument("--run", type=Path, help="run folder (default: runs/<recipe>)")
    export.add_argument("--output", type=Path, required=True, help="model folder to write")

    evaluate = commands.add_parser(
        "evaluate", help="let the vision judge look at clips of the small world"
    )
    evaluate.add_argument("model", help="name of a known model, or path of a model folder")
    evaluate.add_argument("--prompts", type=_positive, default=60)
    evaluate.add_argument("--seed", type=int, default=0, help="draws prompts and noise")
    evaluate.add_argument("--steps", type=_positive, help="default: the model's")
    evaluate.add_argument("--guidance", type=float, help="default: the model's")
    evaluate.add_argument("--fps", type=_positive, help="default: the model's")
    evaluate.add_argument("--output", type=Path, required=True, help="folder for the report")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {value}")
    return value


def _run(options: argparse.Namespace) -> None:
    recipe = load_recipe(options.recipe)
    folder = options.output or Path("runs") / recipe.name
    if options.processes == 1:
        _worker(0, recipe, folder, 1, options.threads)
        return
    from torch.multiprocessing.spawn import spawn

    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", str(_free_port()))
    workers = spawn(
        _worker,
        args=(recipe, folder, options.processes, options.threads or 1),
        nprocs=options.processes,
        join=False,
    )
    assert workers is not None

    def pass_on(_signal: int, _frame: FrameType | None) -> None:
        for process in workers.processes:
            process.terminate()

    # Each worker saves and ends at SIGTERM; without this they would train on without us.
    previous = signal.signal(signal.SIGTERM, pass_on)
    try:
        while not workers.join():
            pass
    finally:
        signal.signal(signal.SIGTERM, previous)


def _worker(rank: int, recipe: Recipe, folder: Path, world: int, threads: int | None) -> None:
    import torch

    from training.loop import run
    from training.stages import make_task

    if threads:
        torch.set_num_threads(threads)
    if world > 1:
        torch.distributed.init_process_group("gloo", rank=rank, world_size=world)
    try:
        torch.manual_seed(recipe.seed)  # the same first weights on every process
        run(make_task(recipe), recipe, folder)
    finally:
        if world > 1:
            # Before the interpreter ends: gloo's threads abort a process that leaves them running.
            torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _export(options: argparse.Namespace) -> None:
    from training.export import export_model

    recipe = load_recipe(options.recipe)
    export_model(recipe, options.run or Path("runs") / recipe.name, options.output)


def _evaluate(options: argparse.Namespace) -> int:
    from engine.checkpoints import ModelLoadError
    from training.evaluation.command import evaluate_model

    try:
        report = evaluate_model(
            options.model,
            prompts=options.prompts,
            seed=options.seed,
            steps=options.steps,
            guidance=options.guidance,
            fps=options.fps,
            output=options.output,
        )
    except ModelLoadError as error:
        print(f"training: {error}", file=sys.stderr)
        return 2
    print(report.summary())
    return 0
