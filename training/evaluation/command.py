"""``python -m training evaluate``: options, and what they are turned into."""

from __future__ import annotations

import argparse
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

from command_line.codes import INTERRUPTED, CommandError, usage_error
from common.out_of_memory import is_out_of_memory
from training.errors import TrainingError

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_evaluate_parser(commands: _SubParsersAction[Any]) -> None:
    """Add the subcommand ``evaluate`` with its options."""
    parser = commands.add_parser(
        "evaluate",
        help="let the vision judge look at a model's clips; write a report",
        description="Make clips for prompts of the small world, judge them, and write report.html, "
        "report.json and contact-sheet.png.",
    )
    add = parser.add_argument
    add("model", nargs="?", help="name of a known model, or path of a model folder")
    add(
        "--clips",
        type=Path,
        metavar="FOLDER",
        help="measure clips made elsewhere instead: a folder of MP4 files, or a CSV of them",
    )
    add("--prompts", type=_positive, default=200, metavar="N", help="default: 200")
    add(
        "--split",
        choices=("held-out", "train", "all"),
        default="held-out",
        help="combinations of shape, colour, background and motion: those that training never "
        "saw (default), those it saw, or any",
    )
    add("--seed", type=_whole, default=0, help="draws prompts and noise (default: 0)")
    add("--steps", type=_positive, help="sampling steps (default: the model's)")
    add("--guidance", type=float, help="guidance scale (default: the model's)")
    add("--fps", type=_positive, help="fps label of the clips (default: the model's)")
    add(
        "--curve",
        type=_whole,
        default=40,
        metavar="N",
        help="prompts of the fps curve, each made at every label (default: 40; 0: no curve)",
    )
    add(
        "--judge-check",
        type=_whole,
        default=1,
        metavar="N",
        help="check the judge itself on N drawn clips of every motion at every fps label "
        "(default: 1; 0: no check)",
    )
    add("--batch", type=_positive, default=4, metavar="N", help="clips at a time (default: 4)")
    add("--processes", type=_positive, metavar="N", help="on the CPU (default: one for each core)")
    add("--device", help='"cpu", "cuda", "cuda:1", "mps" (default: a GPU if any)')
    add("--output", type=Path, help="folder for the report (default: runs/report-<model>)")


def run_evaluate(options: argparse.Namespace) -> int:
    """Carry out ``evaluate``; returns 0 when the report is written.

    Raises:
        CommandError: with code 2 for wrong settings, with 130 when it was interrupted.
        TrainingError: the work failed for a reason that the user can act on.
        OSError: the report cannot be written.
    """
    if (options.model is None) == (options.clips is None):
        raise usage_error("evaluate: name a model, or a folder by --clips")
    if options.clips is not None:
        return _run_clips(options)

    from engine.checkpoints import ModelLoadError
    from training.evaluation.run import EvaluationSettings, EvaluationSettingsError, evaluate_model

    settings = EvaluationSettings(
        model=options.model,
        prompts=options.prompts,
        split=options.split,
        seed=options.seed,
        steps=options.steps,
        guidance=options.guidance,
        fps=options.fps,
        curve=options.curve,
        judge_check=options.judge_check,
        batch=options.batch,
        processes=options.processes,
        device=options.device,
        output=options.output,
    )
    try:
        report, folder = evaluate_model(settings)
    except (ModelLoadError, EvaluationSettingsError) as error:
        raise usage_error(str(error)) from error
    except BrokenProcessPool:
        raise TrainingError(
            "a process of the evaluation was killed, perhaps for want of memory; "
            "try fewer --processes or a smaller --batch"
        ) from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError("out of memory; try a smaller --batch") from None
    except KeyboardInterrupt:
        raise CommandError("interrupted; no report was written", code=INTERRUPTED) from None
    print(report.summary())
    print(f"report: {folder / 'report.html'}")
    return 0


def _run_clips(options: argparse.Namespace) -> int:
    from training.data.errors import DataError
    from training.evaluation.clip_folder import evaluate_clips, summary
    from training.evaluation.report_files import write_report

    for name in ("steps", "guidance", "fps", "processes", "device"):
        if getattr(options, name) is not None:
            raise usage_error(f"--{name}: of clips that are made, not of --clips")
    try:
        report = evaluate_clips(options.clips)
    except DataError as error:
        raise usage_error(f"--clips: {error}") from error
    folder = options.output or Path("runs") / f"report-{options.clips.stem}"
    write_report(report, folder)
    print(summary(report))
    print(f"report: {folder / 'report.html'}")
    return 0


def _positive(text: str) -> int:
    return _at_least(1, text)


def _whole(text: str) -> int:
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from None
    if value < least:
        raise argparse.ArgumentTypeError(f"must be {least} or more, not {value}")
    return value
