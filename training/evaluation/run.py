"""Evaluating a model by name: settings checked, clips made on what the machine has, files."""

from __future__ import annotations

import platform
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

from command_line.progress import ProgressLine
from engine.checkpoints import Catalog, ModelCard, ModelLoadError, UnknownModelError, load_pipeline
from training.data.synthetic import Split
from training.errors import TrainingError
from training.evaluation.clips import ClipJob, Sampling
from training.evaluation.ground_truth import check_judge, draw_every_motion
from training.evaluation.measure import ClipGenerator, EvaluationPlan, evaluate, generator
from training.evaluation.processes import process_generator, usable_cores
from training.evaluation.prompts import draw_cases
from training.evaluation.records import ClipRecord
from training.evaluation.report import JudgeCheck, Report, Setting
from training.evaluation.report_files import write_report
from training.evaluation.targets import targets


class EvaluationSettingsError(TrainingError, ValueError):
    """A setting that the model cannot be evaluated with; one line for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """The settings of the command line; ``None`` leaves one to the model or the machine.

    Args:
        model: name of a known model, or path of a model folder.
        prompts: how many prompts to draw.
        split: which combinations of facts they ask for.
        seed: draws the prompts, and is the first noise seed.
        steps: sampling steps.
        guidance: guidance scale.
        fps: fps label of the clips.
        curve: prompts of the fps curve.
        judge_check: drawn clips of every motion and label to check the judge with.
        batch: clips per call of the pipeline.
        processes: on the CPU; by default one for each core.
        device: torch's name of it; by default a GPU if there is one.
        output: folder of the report, made if missing; by default ``runs/report-<model>``.
    """

    model: str
    prompts: int = 200
    split: Split = "held-out"
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    fps: int | None = None
    curve: int = 40
    judge_check: int = 1
    batch: int = 4
    processes: int | None = None
    device: str | None = None
    output: Path | None = None


def evaluate_model(settings: EvaluationSettings) -> tuple[Report, Path]:
    """Judge a model on prompts of the small world, and pictures of it where it wants some.

    Writes ``report.html``, ``report.json`` and ``contact-sheet.png``; progress goes to stderr.

    Returns:
        The report, and the folder it was written to.

    Raises:
        ModelLoadError: no such model, or it cannot be loaded.
        EvaluationSettingsError: a setting is out of the model's or the machine's range.
        BrokenProcessPool: a process died.
        OSError: the report cannot be written.
    """
    began = time.monotonic()
    card = _card(settings.model)
    device = _device(settings.device)
    sampling, fps = _sampling(card, settings)
    pipeline = load_pipeline(card, device=device)
    folder = settings.output or Path("runs") / f"report-{card.name}"
    folder.mkdir(parents=True, exist_ok=True)  # before hours of work, not after
    plan = EvaluationPlan(
        cases=draw_cases(settings.prompts, settings.seed, split=settings.split),
        seed=settings.seed,
        fps=fps,
        labels=card.fps_choices,
        curve_prompts=settings.curve,
        batch_size=settings.batch,
    )
    processes = 1
    if device.type == "cpu":
        processes = min(settings.processes or usable_cores(), len(plan.work))
    checks: list[JudgeCheck] = []
    if settings.judge_check:
        _say("checking the judge on drawn clips")
        scenes = draw_every_motion(settings.judge_check, settings.seed, settings.split)
        checks = [check_judge(scenes, vae, card.num_frames) for vae in (None, pipeline.vae)]
    make = generator(pipeline, sampling)
    if processes > 1:
        del pipeline  # each process has its own
        make = process_generator(card, sampling, processes)
    stated: dict[str, Setting] = {
        "model": card.name,
        "revision": card.revision,
        "scheduler": card.scheduler,
        "split": settings.split,
        "command": _command(settings, sampling, fps),
    }
    report = evaluate(plan, sampling, _shown(make, processes), settings=stated, judge_checks=checks)
    report = report.with_settings(
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        wall_seconds=round(time.monotonic() - began, 1),
        processes=processes,
        batch=settings.batch,
        machine=f"{platform.machine()}, {usable_cores()} cores, {device}",
        torch=torch.__version__,
        opencv=_version("opencv-python-headless"),
    )
    write_report(report, folder)
    for target in targets(report):
        state = {None: "not measured", True: "cleared", False: "NOT cleared"}[target.passed]
        _say(f"{target.title}: {state}")
    return report, folder


def _card(model: str) -> ModelCard:
    folder = Path(model)
    if folder.is_dir():
        name = folder.resolve().name
        return Catalog({name: folder}).get(name)
    try:
        return Catalog().get(model)
    except UnknownModelError as error:
        raise ModelLoadError(str(error)) from error


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise EvaluationSettingsError(f"--device {name} cannot be used: {reason}") from None
    return device


def _sampling(card: ModelCard, settings: EvaluationSettings) -> tuple[Sampling, int]:
    """The settings with the model's defaults, within the model's ranges."""
    if not card.ready:
        raise ModelLoadError(f"The model {card.name} is not ready: {card.problem}")
    steps = settings.steps or card.default_steps
    guidance = card.default_guidance if settings.guidance is None else settings.guidance
    fps = settings.fps or card.default_fps
    if steps > card.max_steps:
        raise EvaluationSettingsError(f"--steps must be 1 to {card.max_steps}, not {steps}")
    if not 1 <= guidance <= card.max_guidance:
        raise EvaluationSettingsError(
            f"--guidance must be 1 to {card.max_guidance:g}, not {guidance:g}"
        )
    if fps not in card.fps_choices:
        labels = ", ".join(map(str, card.fps_choices))
        raise EvaluationSettingsError(f"--fps must be one of {labels}, not {fps}")
    return Sampling(
        steps=steps,
        guidance=guidance,
        width=card.width,
        height=card.height,
        num_frames=card.num_frames,
        pictures=card.wants_image,
    ), fps


def _shown(make: ClipGenerator, processes: int) -> ClipGenerator:
    """The same, with a bar on stderr and, as soon as it can be told, the time it will take."""

    def shown(work: Sequence[Sequence[ClipJob]]) -> Iterable[tuple[int, list[ClipRecord]]]:
        count = sum(map(len, work))
        _say(f"{count} clips, {processes} {'process' if processes == 1 else 'processes'}")
        began = 0.0
        made = 0
        with ProgressLine(count, "clips", "training") as line:
            for done, (number, records) in enumerate(make(work), start=1):
                # The first round loads the models; the second tells how long a round takes.
                if done == processes:
                    began = time.monotonic()
                elif done == 2 * processes < len(work):
                    rounds = len(work) / processes - 2
                    minutes = (time.monotonic() - began) * rounds / 60
                    line.write(f"training: about {minutes:.1f} more minutes")
                made += len(records)
                line.advance_to(made)
                yield number, records

    return shown


def _command(settings: EvaluationSettings, sampling: Sampling, fps: int) -> str:
    """The command line that makes the same clips again, defaults spelt out."""
    arguments = {
        "--prompts": settings.prompts,
        "--split": settings.split,
        "--seed": settings.seed,
        "--steps": sampling.steps,
        "--guidance": f"{sampling.guidance:g}",
        "--fps": fps,
        "--curve": settings.curve,
        "--judge-check": settings.judge_check,
    }
    words = [str(word) for pair in arguments.items() for word in pair]
    return shlex.join(["python", "-m", "training", "evaluate", settings.model, *words])


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _say(text: str) -> None:
    print(f"training: {text}", file=sys.stderr)
