"""Memory and time of decoding a clip with the autoencoder of the published models.

    python -m benchmarks.vae --size 512x320 --frames 16

Random weights in float32 on the CPU: neither time nor memory depends on the weights. Every way of
decoding runs in a process of its own. ``--model FOLDER`` also tells how far tiling moves the
pixels of a real model, whose latents are those of the picture given with ``--picture``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from benchmarks.hardware import device_name
from benchmarks.watch import watch
from engine.checkpoints.original.autoencoder import autoencoder
from engine.checkpoints.original.presets import PRESETS
from engine.pipelines import decode_latents, encode_frames
from engine.pipelines.images import to_pixels

# Freed blocks go back to the system at once, so that the peak is what was in use.
_ENVIRONMENT: Final = {"MALLOC_MMAP_THRESHOLD_": "1048576"}
_LATENT_FACTOR: Final = 8


def random_vae() -> Any:
    """The autoencoder of the published models, with small random weights."""
    config = PRESETS["t2v-512"].config
    vae: Any = autoencoder(config.first_stage_config, config.scale_factor).module
    vae = vae.to_empty(device="cpu")
    torch.manual_seed(0)
    for parameter in vae.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        parameter.data.uniform_(-1, 1).mul_(fan_in**-0.5)
    return vae.eval().requires_grad_(False)


def set_tiles(vae: Any, pixels: int | None) -> None:
    """Decode in square tiles of so many pixels; None for whole frames."""
    vae.use_tiling = pixels is not None
    if pixels is not None:
        vae.tile_sample_min_size = pixels
        vae.tile_latent_min_size = pixels // 2 ** (len(vae.config.block_out_channels) - 1)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Decode once in this process, or with ``chunk`` 0 only hold what is there before."""
    width, height = options.size
    vae = random_vae()
    set_tiles(vae, options.tile)
    latents = torch.randn(1, 4, options.frames, height // _LATENT_FACTOR, width // _LATENT_FACTOR)
    began = time.perf_counter()
    if options.chunk:
        decode_latents(vae, latents, options.chunk)
    return {"seconds": time.perf_counter() - began, "device": device_name(torch.device("cpu"))}


def compare(options: argparse.Namespace) -> list[dict[str, float]]:
    """Measure how far tiling moves the pixels of a picture, in 8-bit steps."""
    vae: Any = AutoencoderKL.from_pretrained(options.model / "vae").eval()
    width, height = options.size
    picture = Image.open(options.picture).convert("RGB").resize((width, height))
    latents = encode_frames(vae, to_pixels(picture)[:, None], sample=False)
    whole = decode_latents(vae, latents)
    rows = []
    for tile in options.compare_tiles:
        set_tiles(vae, tile)
        rows.append({"tile": tile, **_difference(decode_latents(vae, latents), whole)})
    return rows


def _difference(tiled: Tensor, whole: Tensor) -> dict[str, float]:
    steps = (tiled - whole).abs() * 255
    return {
        "mean_steps": float(steps.mean()),
        "share_over_8_steps": float((steps > 8).float().mean()),
        "most_steps": float(steps.max()),
        "psnr_db": float(-10 * (tiled - whole).square().mean().log10()),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; with ``--output`` also write JSON."""
    options = _parser().parse_args(arguments)
    if options.inside:
        json.dump(measure(options), sys.stdout)
        return 0
    width, height = options.size
    ways = [("nothing decoded", 0, None)]
    ways += [(f"{chunk} at once", chunk, None) for chunk in options.chunks]
    ways += [(f"1 at once, tiles of {tile}", 1, tile) for tile in options.tiles]
    out = sys.stdout
    rows: list[dict[str, Any]] = []
    for name, chunk, tile in ways:
        row = {"way": name, **_child(options, chunk, tile)}
        if not rows:
            out.write(f"{options.frames} frames of {width}x{height}, float32, {row['device']}\n")
            out.write(f"{'frames':<26} {'seconds':>8} {'peak GB':>8} {'own GB':>8}\n")
        out.write(
            f"{name:<26} {row['seconds']:8.1f} {row['peak_resident_gb']:8.2f} "
            f"{row['peak_anonymous_gb']:8.2f}\n"
        )
        out.flush()
        rows.append(row)
    result: dict[str, Any] = {"size": f"{width}x{height}", "frames": options.frames, "rows": rows}
    if options.model:
        result["tiling"] = compare(options)
        out.write(json.dumps(result["tiling"], indent=2) + "\n")
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def _child(options: argparse.Namespace, chunk: int, tile: int | None) -> dict[str, Any]:
    width, height = options.size
    command = [sys.executable, "-m", "benchmarks.vae", "--inside", "--chunk", str(chunk)]
    command += ["--size", f"{width}x{height}", "--frames", str(options.frames)]
    if tile is not None:
        command += ["--tile", str(tile)]
    watched = watch(command, _ENVIRONMENT)
    return {
        **json.loads(watched.stdout),
        "peak_resident_gb": watched.peak_resident / 1e9,
        "peak_anonymous_gb": watched.peak_anonymous / 1e9,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vae", description=__doc__)
    parser.add_argument("--size", type=_size, default=(512, 320), metavar="WxH")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--chunks", type=int, nargs="*", default=[1, 4, 16], metavar="FRAMES")
    parser.add_argument("--tiles", type=int, nargs="*", default=[256], metavar="PIXELS")
    parser.add_argument("--model", type=Path, metavar="FOLDER")
    parser.add_argument("--picture", type=Path, metavar="F.png")
    parser.add_argument("--compare-tiles", type=int, nargs="*", default=[256], metavar="PIXELS")
    parser.add_argument("--output", type=Path, metavar="F.json")
    parser.add_argument("--chunk", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--tile", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form WxH, such as 512x320")
    return int(width), int(height)


if __name__ == "__main__":
    sys.exit(main())
