"""The distance of each solver's clip from the converged one, by number of steps.

    python -m benchmarks.solvers --model demo-t2v
    python -m benchmarks.solvers --checkpoint model.ckpt --config run.json --size 64x48 --frames 4

Every run starts from the same noise as the reference, which DPM-Solver++ makes in 200 steps; DDIM
in 200 steps is measured against it, too, since the two must agree. No noise is added on the way
(eta 0; lcm cannot do without). Distances are those of latents in the space of the network, relative
to the standard deviation of the reference's. ``--config`` holds the architecture in the words of
the released yaml files, at the top or under "config".
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, get_args

import torch
from torch import Tensor

from benchmarks.hardware import device_name
from engine.checkpoints import Catalog, load_original, load_pipeline
from engine.pipelines import Pipeline, decode_latents
from engine.schedulers import clip_noise, scheduler_from_config
from engine.schedulers.config import Spacing
from training.evaluation.prompts import draw_prompts

SOLVERS: Final = ("ddim", "dpm++2m", "unipc", "euler", "lcm")
REFERENCE: Final = "dpm++2m"
PROMPT_SEED: Final = 20_231_030


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One solver at one number of steps, over all prompts.

    Attributes:
        rms: distance of the latents from the reference, in the reference's standard deviations.
        rms_to_ddim: the same from DDIM's clip of as many steps as the reference has.
        psnr_db: of the decoded frames against the reference's.
        seconds: wall time a clip, without decoding.
        cpu_seconds: time of all cores a clip.
    """

    solver: str
    steps: int
    rms: float
    rms_to_ddim: float
    psnr_db: float
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Subject:
    """A model, and all that the runs have in common."""

    pipeline: Pipeline
    prompts: Sequence[str]
    start: Tensor
    guidance: float
    fps: int

    def run(self, solver: str, steps: int, spacing: str | None) -> Tensor:
        """Latents ``[B, C, F, h, w]`` of all prompts."""
        stored = dict(self.pipeline.scheduler.config)
        if spacing is not None:
            stored["timestep_spacing"] = spacing
        before = self.pipeline.scheduler
        self.pipeline.scheduler = scheduler_from_config(solver, stored)
        try:
            latents: Tensor = self.pipeline(
                list(self.prompts),
                latents=self.start,
                num_inference_steps=steps,
                guidance_scale=self.guidance,
                fps=self.fps,
                generator=_seeds(len(self.prompts)),
                output_type="latent",
            ).frames
        finally:
            self.pipeline.scheduler = before
        return latents

    def frames(self, latents: Tensor) -> Tensor:
        """Decoded, float32 in [0, 1]."""
        return decode_latents(self.pipeline.vae, latents)


def measure(
    subject: Subject,
    solvers: Sequence[str],
    step_counts: Sequence[int],
    *,
    reference_steps: int,
    spacing: str | None,
) -> tuple[list[Measurement], float]:
    """All solvers at all step counts, and the distance of the two references."""
    reference = subject.run(REFERENCE, reference_steps, spacing)
    by_ddim = subject.run("ddim", reference_steps, spacing)
    shown = subject.frames(reference)
    measurements = []
    for solver in solvers:
        for steps in step_counts:
            wall, cpu = time.perf_counter(), time.process_time()
            latents = subject.run(solver, steps, spacing)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            measurements.append(
                Measurement(
                    solver=solver,
                    steps=steps,
                    rms=_distance(latents, reference),
                    rms_to_ddim=_distance(latents, by_ddim),
                    psnr_db=_psnr(subject.frames(latents), shown),
                    seconds=wall / len(latents),
                    cpu_seconds=cpu / len(latents),
                )
            )
            print(_line(measurements[-1]), file=sys.stderr, flush=True)
    return measurements, _distance(by_ddim, reference)


def _distance(latents: Tensor, reference: Tensor) -> float:
    return float((latents - reference).square().mean().sqrt() / reference.std())


def _psnr(frames: Tensor, reference: Tensor) -> float:
    """Mean over the clips; a clip that is equal counts 99 dB."""
    errors = (frames - reference).square().flatten(1).mean(1).tolist()
    return sum(min(99.0, -10 * math.log10(error)) if error else 99.0 for error in errors) / len(
        errors
    )


def _seeds(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def _line(one: Measurement) -> str:
    return (
        f"| {one.solver} | {one.steps} | {one.rms:.4f} | {one.rms_to_ddim:.4f} "
        f"| {one.psnr_db:.1f} | {one.seconds:.2f} | {one.cpu_seconds:.2f} |"
    )


def table(measurements: Sequence[Measurement]) -> str:
    """The measurements as a Markdown table."""
    head = "| solver | steps | RMS | RMS to DDIM | PSNR (dB) | s a clip | CPU s a clip |"
    return "\n".join([head, "|---" * 7 + "|", *map(_line, measurements)])


def load_subject(options: argparse.Namespace) -> Subject:
    """The model of the command line, with prompts and the noise that all runs start from."""
    pipeline: Pipeline
    if options.checkpoint is None:
        card = Catalog().get(options.model)
        pipeline = load_pipeline(card)
        fps, guidance = card.default_fps, card.default_guidance
        width, height, frames = card.width, card.height, card.num_frames
    else:
        config: dict[str, Any] = json.loads(options.config.read_text(encoding="utf-8"))
        pipeline = load_original(options.checkpoint, config.get("config", config))
        fps, guidance = 8, 12.0
        (width, height), frames = options.size, options.frames
    texts = [prompt.text for prompt in draw_prompts(options.prompts, PROMPT_SEED)]
    factor = 2 ** (len(pipeline.vae.config["block_out_channels"]) - 1)
    channels = pipeline.unet.config["in_channels"]
    start = clip_noise(
        (len(texts), channels, frames, height // factor, width // factor),
        _seeds(len(texts)),
        "cpu",
        shared=pipeline.config["shared_noise"],
    )
    chosen = guidance if options.guidance is None else options.guidance
    return Subject(pipeline, texts, start, chosen, fps)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, and write what was measured."""
    options = _parser().parse_args(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    subject = load_subject(options)
    measurements, agreement = measure(
        subject,
        options.solvers,
        options.steps,
        reference_steps=options.reference_steps,
        spacing=options.spacing,
    )
    device = device_name(torch.device("cpu"))
    print(f"{len(subject.prompts)} prompts, guidance {subject.guidance:g}; {device}")
    print(f"DDIM against {REFERENCE}, both in {options.reference_steps} steps: RMS {agreement:.4f}")
    print(table(measurements))
    if options.output is not None:
        facts = {
            "model": str(options.checkpoint or options.model),
            "guidance": subject.guidance,
            "spacing": options.spacing,
            "reference": {"solver": REFERENCE, "steps": options.reference_steps},
            "rms_between_references": agreement,
            "device": device,
            "torch": torch.__version__,
            "prompts": list(subject.prompts),
            "measurements": [asdict(one) for one in measurements],
        }
        options.output.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.solvers", description="Solvers against the converged clip."
    )
    parser.add_argument(
        "--model", default="demo-t2v", help="a text-to-video model of the catalogue"
    )
    parser.add_argument("--checkpoint", type=Path, help="an original checkpoint instead")
    parser.add_argument("--config", type=Path, help="its architecture, JSON")
    parser.add_argument("--size", type=_size, default=(64, 48), help="WxH for --checkpoint, pixels")
    parser.add_argument("--frames", type=int, default=4, help="frames for --checkpoint")
    parser.add_argument("--prompts", type=int, default=8, help="how many; drawn from a fixed seed")
    parser.add_argument("--guidance", type=float, help="default: the model's")
    parser.add_argument("--solvers", nargs="+", default=SOLVERS, choices=SOLVERS)
    parser.add_argument("--steps", nargs="+", type=int, default=(10, 20, 50))
    parser.add_argument("--reference-steps", type=int, default=200)
    parser.add_argument("--spacing", choices=get_args(Spacing), help="default: the model's")
    parser.add_argument("--threads", type=int, help="of torch; default: its own choice")
    parser.add_argument("--output", type=Path, help="JSON file")
    return parser


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


if __name__ == "__main__":
    sys.exit(main())
