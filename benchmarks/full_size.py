"""The published models at full size on this machine, with random weights.

    python -m benchmarks.full_size forward
    python -m benchmarks.full_size convert --preset t2v-1024 --folder /scratch

``forward`` runs the UNet, saves it in shards, loads it again and runs it once more: the outputs
must be equal bit for bit. (With the weights copied: where they are views of the mapped file they
lie at other addresses modulo 64, for which the matrix products round differently; the difference
is told.) ``convert`` makes a checkpoint of the published tensors, converts it with
``python -m engine convert`` in a process of its own, whose memory is watched, loads the folder and
compares tensors with the checkpoint. Both work in a temporary folder, which is deleted at the end;
``convert`` needs twice the size of the checkpoint there.
"""

from __future__ import annotations

import argparse
import json
import math
import mmap
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from benchmarks.hardware import device_name, peak_memory_bytes
from benchmarks.unet import LATENT_FACTOR, inputs, random_unet
from benchmarks.watch import Watched, watch
from engine.checkpoints import Catalog, load_pipeline
from engine.checkpoints.original.files import read_checkpoint
from engine.checkpoints.original.plan import ConversionPlan, make_plan
from engine.checkpoints.original.presets import PRESETS
from engine.checkpoints.original.schedule import schedule_buffers
from engine.models import VideoUNet

_STD: Final = 0.02
_LIMIT: Final = 1.3
_IDLE = ("-c", "import engine.checkpoints.original.convert")


def forward(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One forward, save, load, another forward."""
    cpu = torch.device("cpu")
    latent = (options.height // LATENT_FACTOR, options.width // LATENT_FACTOR)
    unet = random_unet(options.preset, cpu, torch.float32)
    parameters = sum(parameter.numel() for parameter in unet.parameters())
    arguments = inputs(unet, options.frames, latent, cpu, torch.float32)
    first, first_s = _timed_forward(unet, arguments)
    after_forward = peak_memory_bytes(cpu)
    began = time.perf_counter()
    unet.save_pretrained(folder, max_shard_size="1GB")
    save_s = time.perf_counter() - began
    files = sorted(folder.glob("*.safetensors"))
    stored = sum(file.stat().st_size for file in files)
    del unet
    began = time.perf_counter()
    loaded = VideoUNet.from_pretrained(folder).eval().requires_grad_(False)
    # As `load_pipeline` does: weights in another order give another rounding.
    loaded = loaded.to(memory_format=torch.channels_last)
    load_s = time.perf_counter() - began
    mapped, mapped_s = _timed_forward(loaded, arguments)
    for parameter in loaded.parameters():
        parameter.data = parameter.data.clone()
    second, second_s = _timed_forward(loaded, arguments)
    if not torch.equal(first, second):
        raise RuntimeError("the loaded network computes something else than the saved one")
    if not bool(torch.isfinite(first).all()):
        raise RuntimeError("the network computes no finite numbers")
    return {
        "what": "forward",
        "preset": options.preset,
        "device": device_name(cpu),
        "size": f"{options.width}x{options.height}",
        "frames": options.frames,
        "parameters": parameters,
        "weights_gb": parameters * 4 / 1e9,
        "forward_s": first_s,
        "peak_after_forward_gb": after_forward / 1e9,
        "save_s": save_s,
        "files": len(files),
        "stored_gb": stored / 1e9,
        "load_s": load_s,
        "mapped_forward_s": mapped_s,
        "mapped_most_difference": float((mapped - first).abs().max()),
        "output_rms": float(first.square().mean().sqrt()),
        "copied_forward_s": second_s,
        "peak_gb": peak_memory_bytes(cpu) / 1e9,
        "copied_equal": True,
    }


def _timed_forward(unet: VideoUNet, arguments: Mapping[str, Any]) -> tuple[Tensor, float]:
    began = time.perf_counter()
    with torch.inference_mode():
        out: Tensor = unet(**arguments).sample
    return out, time.perf_counter() - began


def convert(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Make a checkpoint, convert it while watching, load and compare."""
    plan = make_plan(PRESETS[options.preset].config)
    dtype = getattr(torch, options.dtype)
    groups = {
        name: sum(math.prod(rule.shape) for rule in part.rules if rule.targets) * dtype.itemsize
        for name, part in plan.components.items()
    }
    source, output = folder / "model.ckpt", folder / options.preset
    began = time.perf_counter()
    write_random_checkpoint(plan, source, dtype)
    write_s = time.perf_counter() - began
    idle = watch([sys.executable, *_IDLE])
    command = ["-m", "engine", "convert", str(source), "--preset", options.preset]
    converted = watch([sys.executable, *command, "--output", str(output)])
    began = time.perf_counter()
    compared = _compare(plan, source, output, dtype)
    compare_s = time.perf_counter() - began
    largest = max(groups.values())
    return {
        "what": "convert",
        "preset": options.preset,
        "dtype": options.dtype,
        "checkpoint_gb": source.stat().st_size / 1e9,
        "groups_gb": {name: size / 1e9 for name, size in groups.items()},
        "largest_group_gb": largest / 1e9,
        "limit_gb": _LIMIT * largest / 1e9,
        "write_s": write_s,
        "convert_s": converted.seconds,
        **_memory(converted, idle),
        "anonymous_over_largest_group": converted.peak_anonymous / largest,
        "resident_over_largest_group": converted.peak_resident / largest,
        "within_limit": converted.peak_resident <= _LIMIT * largest,
        "output_files": sum(1 for _ in output.rglob("*.safetensors")),
        "compared_tensors": compared,
        "load_and_compare_s": compare_s,
    }


def _memory(converted: Watched, idle: Watched) -> dict[str, float]:
    return {
        "peak_anonymous_gb": converted.peak_anonymous / 1e9,
        "peak_resident_gb": converted.peak_resident / 1e9,
        "idle_anonymous_gb": idle.peak_anonymous / 1e9,
        "idle_resident_gb": idle.peak_resident / 1e9,
    }


def write_random_checkpoint(plan: ConversionPlan, path: Path, dtype: torch.dtype) -> None:
    """A file as torch saves it, with random weights and the schedule of the plan.

    The file is laid out first and then filled through a shared mapping, so that it may be larger
    than the memory. (The checksums inside stay those of the empty file; torch does not read them.)
    """
    state = {key: torch.empty(shape, dtype=dtype) for key, shape in plan.shapes().items()}
    with torch.serialization.skip_data():
        torch.save({"state_dict": state}, path)
    del state
    with torch.serialization.set_default_mmap_options(mmap.MAP_SHARED):
        mapped = torch.load(path, mmap=True, weights_only=True)["state_dict"]
    generator = torch.Generator().manual_seed(0)
    buffers = schedule_buffers(plan.config)
    for name, tensor in mapped.items():
        if name in buffers:
            tensor.copy_(buffers[name])
        else:
            tensor.normal_(std=_STD, generator=generator)


def _compare(plan: ConversionPlan, source: Path, output: Path, dtype: torch.dtype) -> int:
    """Load the folder and compare every tensor with the checkpoint; returns how many."""
    pipeline: Any = load_pipeline(Catalog({"new": output}).get("new"), dtype=dtype)
    released = read_checkpoint(source)
    count = 0
    for name, component in plan.components.items():
        loaded = getattr(pipeline, name).state_dict()
        expected = component.tensors(released)
        if missing := expected.keys() - loaded.keys():
            raise RuntimeError(f"{name} lacks {min(missing)}")
        for key, tensor in expected.items():
            if not torch.equal(loaded[key], tensor):
                raise RuntimeError(f"{name}: {key} differs from the checkpoint")
        count += len(expected)
    return count


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures as JSON."""
    options = _parser().parse_args(arguments)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(prefix="floor33-full-size-", dir=options.folder) as folder:
        figures = options.run(options, Path(folder))
    text = json.dumps(figures, indent=2)
    sys.stdout.write(text + "\n")
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")
    return 0 if figures.get("within_limit", True) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.full_size", description=__doc__)
    parser.add_argument("--output", type=Path, metavar="F.json")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("forward", help="run, save, load and run the UNet")
    one.add_argument("--width", type=int, default=128)
    one.add_argument("--height", type=int, default=128)
    one.add_argument("--frames", type=int, default=16)
    one.set_defaults(run=forward)
    other = commands.add_parser("convert", help="convert a whole checkpoint")
    other.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    other.set_defaults(run=convert)
    for command in (one, other):
        command.add_argument("--preset", choices=tuple(PRESETS), default="t2v-1024")
        command.add_argument("--folder", type=Path, default=os.environ.get("TMPDIR"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
