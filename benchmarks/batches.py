"""Clips a minute when 1, 2, 4 or 8 of them are sampled together.

    python -m benchmarks.batches --model demo-t2v

Every round runs each batch size once, one after the other, so that a machine that is busy for a
while is busy for all of them; told is the median over the rounds. What is timed is what the engine
does for a batch: prompts, sampling and decoding, without loading and encoding. On a GPU it also
tells what a clip adds to the memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.hardware import device_name
from engine.checkpoints import Catalog
from engine.serving import GenerationRequest, ModelOptions, ResolvedParams
from engine.serving.backends import VideoModel, default_backends
from engine.serving.backends.options import choose_dtype
from engine.serving.cancellation import no_check
from engine.serving.request import resolve


def make_batch(options: argparse.Namespace, catalog: Catalog, count: int) -> list[ResolvedParams]:
    """Parameters that differ in nothing but their seeds."""
    batch = []
    for seed in range(count):
        request = GenerationRequest(
            job_id=f"clip-{seed}",
            model=options.model,
            prompt="a red ball rolls to the left",
            seed=seed,
            steps=options.steps,
        )
        batch.append(resolve(request, catalog).params)
    return batch


def run(model: VideoModel, batch: Sequence[ResolvedParams], device: str) -> dict[str, float]:
    """Make the clips of one batch; seconds, processor seconds and, on a GPU, bytes."""
    cuda = device.startswith("cuda")
    before = 0
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    began, processor = time.perf_counter(), time.process_time()
    for clip in model.run(batch, lambda step, clips: None):
        model.decode(clip, no_check)
    return {
        "seconds": time.perf_counter() - began,
        "processor_seconds": time.process_time() - processor,
        "bytes": torch.cuda.max_memory_allocated() - before if cuda else 0,
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All batch sizes in turn, round after round."""
    if options.threads:
        torch.set_num_threads(options.threads)
    catalog = Catalog(dict(options.model_dir))
    device: str = options.device
    card = catalog.get(options.model)
    model = default_backends().of(card).load(card, device, ModelOptions(), lambda part: None)
    batch = make_batch(options, catalog, max(options.batches))
    # What is done for the first time takes longer.
    run(model, make_batch(argparse.Namespace(model=options.model, steps=1), catalog, 1), device)
    found: dict[int, list[dict[str, float]]] = {size: [] for size in options.batches}
    for _ in range(options.rounds):
        for size in options.batches:
            found[size].append(run(model, batch[:size], device))
    rows: list[dict[str, Any]] = []
    for size, runs in found.items():
        seconds = median(one["seconds"] for one in runs) / size
        rows.append(
            {
                "batch": size,
                "seconds_a_clip": seconds,
                "processor_seconds_a_clip": median(one["processor_seconds"] for one in runs) / size,
                "clips_a_minute": 60 / seconds,
                "gain": rows[0]["seconds_a_clip"] / seconds if rows else 1.0,
                "gb_a_clip": max(one["bytes"] for one in runs) / size / 1e9,
            }
        )
    return {
        "model": options.model,
        "clip": "{num_frames} frames of {width}x{height}, {steps} steps".format(
            **batch[0].stored()
        ),
        "device": device_name(torch.device(device)),
        "dtype": str(choose_dtype(device, "auto")).removeprefix("torch."),
        "rounds": options.rounds,
        "rows": rows,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; with ``--output`` also write JSON."""
    options = _parser().parse_args(arguments)
    result = measure(options)
    print(f"{result['model']}: {result['clip']}, {result['dtype']}, {result['device']}")
    print(f"median of {result['rounds']} rounds\n")
    print("| batch | seconds a clip | processor s a clip | clips a minute | gain |")
    print("|---|---|---|---|---|")
    for row in result["rows"]:
        print(
            f"| {row['batch']} | {row['seconds_a_clip']:.2f} "
            f"| {row['processor_seconds_a_clip']:.2f} | {row['clips_a_minute']:.1f} "
            f"| {row['gain']:.2f} |"
        )
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batches", description=__doc__)
    parser.add_argument("--model", default="demo-t2v")
    parser.add_argument(
        "--model-dir", type=_folder, action="append", default=[], metavar="NAME=FOLDER"
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--steps", type=int, help="default: the model's")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--output", type=Path, metavar="F.json")
    return parser


def _folder(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    if not (name and folder):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=FOLDER")
    return name, Path(folder)


if __name__ == "__main__":
    sys.exit(main())
