"""Time and memory of one UNet forward, beside the machine's matmul peak of the same run.

    python -m benchmarks.unet --size 128x128 --size 320x512

The weights are random: neither time nor memory depends on them. Every size runs in a process of
its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.hardware import device_name, peak_memory_bytes
from engine.checkpoints.original.presets import PRESETS
from engine.models import VideoUNet
from engine.models.original_names import unet_config_from_original
from training.planning.flop_counter import forward_operations
from training.planning.hardware import matmul_peak, wait_for

LATENT_FACTOR = 8
TEXT_TOKENS = 77
IMAGE_TOKENS = 16


def random_unet(preset: str, device: torch.device, dtype: torch.dtype) -> VideoUNet:
    """The architecture of a published model with small random weights, made where they stay."""
    config = unet_config_from_original(PRESETS[preset].config.unet_config)
    with torch.device("meta"):
        unet: Any = VideoUNet(**config).to(dtype)  # Any: diffusers wraps to() without types
    unet.to_empty(device=device).to(memory_format=torch.channels_last)
    torch.manual_seed(0)
    for parameter in unet.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        parameter.data.uniform_(-1, 1).mul_(fan_in**-0.5)
    return unet.eval().requires_grad_(False)  # type: ignore[no-any-return]


def inputs(
    unet: VideoUNet, frames: int, latent: tuple[int, int], device: torch.device, dtype: torch.dtype
) -> dict[str, Any]:
    """One clip's arguments of the UNet; ``latent`` is (height, width)."""
    width = unet.config["context_dim"]
    made = {
        "sample": torch.randn(1, 4, frames, *latent, device=device, dtype=dtype),
        "timestep": torch.full((1,), 500, device=device),
        "encoder_hidden_states": torch.randn(1, TEXT_TOKENS, width, device=device, dtype=dtype),
        "fps": torch.full((1,), 16, device=device),
    }
    if unet.config["image_cross_attention"]:
        shape = (1, IMAGE_TOKENS, width)
        made["image_hidden_states"] = torch.randn(shape, device=device, dtype=dtype)
    return made


def count_flops(preset: str, frames: int, latent: tuple[int, int]) -> int:
    """FLOPs of the matrix products and convolutions of one forward (a multiply-add is two)."""
    meta = torch.device("meta")
    with meta:
        unet = VideoUNet(**unet_config_from_original(PRESETS[preset].config.unet_config)).eval()
    clip = inputs(unet, frames, latent, meta, torch.float32)
    return forward_operations(lambda _: unet(**clip).sample)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run one size in this process."""
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    if options.threads:
        torch.set_num_threads(options.threads)
    width, height = options.size[0]
    latent = (height // LATENT_FACTOR, width // LATENT_FACTOR)
    flops = count_flops(options.preset, options.frames, latent)
    side = 8192 if device.type == "cuda" else 2048
    peak = matmul_peak(device, dtype, side=side, seconds=2.0)
    unet = random_unet(options.preset, device, dtype)
    unet.use_attention(options.attention)
    forward: Any = torch.compile(unet, mode=options.compile) if options.compile else unet
    arguments = inputs(unet, options.frames, latent, device, dtype)
    durations = []
    with torch.inference_mode():
        for _ in range(options.repeats + 1):
            wait_for(device)
            start = time.perf_counter()
            forward(**arguments)
            wait_for(device)
            durations.append(time.perf_counter() - start)
    seconds = min(durations[1:]) if options.repeats else durations[0]
    peak = max(peak, matmul_peak(device, dtype, side=side, seconds=2.0))
    return {
        "preset": options.preset,
        "size": f"{width}x{height}",
        "frames": options.frames,
        "dtype": options.dtype,
        "attention": options.attention,
        "compile": options.compile,
        "device": device_name(device),
        "torch": torch.__version__,
        "first_seconds": durations[0],
        "seconds": seconds,
        "tflop": flops / 1e12,
        "gflop_per_second": flops / seconds / 1e9,
        "matmul_peak_gflop_per_second": peak / 1e9,
        "share_of_peak": flops / seconds / peak,
        "peak_memory_gb": peak_memory_bytes(device) / 1e9,
        "weights_gb": sum(p.numel() * p.element_size() for p in unet.parameters()) / 1e9,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; with ``--output`` also write JSON."""
    options = _parser().parse_args(arguments)
    if options.inside:
        json.dump(measure(options), sys.stdout)
        return 0
    rows: list[dict[str, Any]] = []
    for width, height in options.size:
        command = [sys.executable, "-m", "benchmarks.unet", *_child_arguments(options)]
        command += ["--size", f"{width}x{height}", "--inside"]
        child = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        row = json.loads(child.stdout)
        if not rows:
            print(
                f"{row['preset']}, {row['frames']} frames, {row['dtype']}, {row['device']}, "
                f"torch {row['torch']}, weights {row['weights_gb']:.2f} GB"
            )
            print("size       seconds  TFLOP  GFLOP/s  matmul peak  share  peak memory")
        print(
            f"{row['size']:<10} {row['seconds']:7.2f} {row['tflop']:6.2f} "
            f"{row['gflop_per_second']:8.1f} {row['matmul_peak_gflop_per_second']:12.1f} "
            f"{row['share_of_peak']:6.1%} {row['peak_memory_gb']:9.2f} GB",
            flush=True,
        )
        rows.append(row)
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.unet", description=__doc__)
    parser.add_argument("--preset", choices=tuple(PRESETS), default="t2v-1024")
    parser.add_argument("--size", type=_size, action="append", required=True, metavar="WxH")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--compile", metavar="MODE", help="of torch.compile, such as default")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--repeats", type=int, default=2, help="after a first run to warm up")
    parser.add_argument("--output", metavar="F.json")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form WxH, such as 128x128")
    size = int(width), int(height)
    if math.gcd(*size) % (8 * LATENT_FACTOR):
        raise argparse.ArgumentTypeError(f"{text}: width and height must be multiples of 64")
    return size


def _child_arguments(options: argparse.Namespace) -> list[str]:
    passed = ["preset", "frames", "device", "dtype", "attention", "compile", "threads", "repeats"]
    return [
        part
        for name in passed
        if (value := getattr(options, name)) is not None
        for part in (f"--{name}", str(value))
    ]


if __name__ == "__main__":
    sys.exit(main())
