"""An evaluation: every case once, some at every fps label, judged and summed up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from training.evaluation.clips import ClipJob, ClipPipeline, Sampling, make_clips
from training.evaluation.ground_truth import reference_figures
from training.evaluation.prompts import Case
from training.evaluation.records import ClipRecord
from training.evaluation.report import JudgeCheck, Report, Setting

ClipGenerator = Callable[[Sequence[Sequence[ClipJob]]], Iterable[tuple[int, list[ClipRecord]]]]
"""Makes batches of jobs; yields each batch's number and clips as they are done, in any order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """The plan of an evaluation: the clips to make.

    Args:
        cases: what to ask for; :func:`training.evaluation.draw_cases` gives some.
        seed: case i starts from the noise of seed ``(seed + i) mod 2**32``, so that no two cases
            share theirs.
        fps: the label of every case's clip.
        labels: of the fps curve; empty for none.
        curve_prompts: how many of the cases, those that ask for a direction and from the first
            on, are made at every label.
        batch_size: clips per call of the pipeline.

    Raises:
        ValueError: There is nothing to make.
    """

    cases: tuple[Case, ...]
    seed: int
    fps: int
    labels: tuple[int, ...] = ()
    curve_prompts: int = 0
    batch_size: int = 4

    def __post_init__(self) -> None:
        """Refuse a plan without clips."""
        if not self.cases or self.batch_size < 1:
            raise ValueError("an evaluation needs cases and a batch size of 1 or more")

    @property
    def jobs(self) -> tuple[ClipJob, ...]:
        """Every case's clip."""
        return tuple(
            ClipJob(case, (self.seed + i) % 2**32, self.fps) for i, case in enumerate(self.cases)
        )

    @property
    def curve_jobs(self) -> tuple[ClipJob, ...]:
        """The clips of the fps curve; those at ``fps`` are among :attr:`jobs`, too."""
        chosen = [job for job in self.jobs if job.case.prompt.direction is not None]
        labels = self.labels if len(self.labels) > 1 else ()
        return tuple(
            ClipJob(job.case, job.seed, fps)
            for job in chosen[: self.curve_prompts]
            for fps in labels
        )

    @property
    def work(self) -> list[list[ClipJob]]:
        """All clips, each once, in batches."""
        todo = list(dict.fromkeys((*self.jobs, *self.curve_jobs)))
        return [todo[i : i + self.batch_size] for i in range(0, len(todo), self.batch_size)]


def evaluate(
    plan: EvaluationPlan,
    sampling: Sampling,
    make: ClipGenerator,
    *,
    settings: dict[str, Setting] | None = None,
    judge_checks: Sequence[JudgeCheck] = (),
) -> Report:
    """Make the clips of a plan and report.

    Args:
        plan: what to make.
        sampling: how.
        make: who makes them; :func:`generator` in this process, or several processes.
        settings: more to say in the report.
        judge_checks: what is known of the judge.
    """
    work = plan.work
    made: dict[ClipJob, ClipRecord] = {}
    for number, records in make(work):
        made.update(zip(work[number], records, strict=True))
    stated: dict[str, Setting] = {
        "task": "image-to-video" if sampling.pictures else "text-to-video",
        "prompts": len(plan.cases),
        "first_seed": plan.seed,
        "fps": plan.fps,
        "steps": sampling.steps,
        "guidance": sampling.guidance,
        "width": sampling.width,
        "height": sampling.height,
        "num_frames": sampling.num_frames,
    }
    return Report(
        settings={**stated, **(settings or {})},
        clips=tuple(made[job] for job in plan.jobs),
        curve_clips=tuple(made[job] for job in plan.curve_jobs),
        reference=reference_figures(plan.cases, plan.fps, sampling.num_frames),
        judge_checks=tuple(judge_checks),
    )


def generator(pipe: ClipPipeline, sampling: Sampling) -> ClipGenerator:
    """Make clips in this process with a pipeline that is on its device, in evaluation mode."""

    def make(work: Sequence[Sequence[ClipJob]]) -> Iterable[tuple[int, list[ClipRecord]]]:
        for number, batch in enumerate(work):
            yield number, make_clips(pipe, batch, sampling)

    return make
