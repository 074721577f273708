"""Options of `generate` for machines with little memory."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import Final, get_args

from engine.settings import AttentionChoice, ModelOptions, Offload, Precision

PRECISIONS: Final = get_args(Precision)
OFFLOADS: Final = get_args(Offload)
ATTENTIONS: Final = get_args(AttentionChoice)


def add_memory_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options; docs/memory.md tells what each saves."""
    group = parser.add_argument_group("memory and speed", "see docs/memory.md")
    group.add_argument("--precision", choices=PRECISIONS, default="auto")
    group.add_argument(
        "--offload",
        choices=OFFLOADS,
        default="none",
        help="keep the weights in main memory: one network, or one layer, at a time on the GPU",
    )
    group.add_argument("--vae-tiling", action="store_true", help="decode large frames in tiles")
    group.add_argument("--vae-slicing", action="store_true", help="decode one frame at a time")
    group.add_argument("--attention", choices=ATTENTIONS, default="sdpa")
    group.add_argument("--compile", action="store_true", help="compile the network; GPU only")


def memory_options(arguments: argparse.Namespace) -> ModelOptions:
    """Return the options that were given on the command line.

    Raises:
        EngineSettingsError: options that exclude each other.
    """
    return ModelOptions(
        precision=arguments.precision,
        offload=arguments.offload,
        vae_tiling=arguments.vae_tiling,
        vae_slicing=arguments.vae_slicing,
        attention=arguments.attention,
        compile=arguments.compile,
    )


def tell_ignored_options(options: ModelOptions, devices: Iterable[str]) -> None:
    """Say on stderr what was asked for and has no effect on the device, or slows it down."""
    from engine.serving.backends.options import ignored_options, is_slow

    for device in devices:
        if is_slow(options, device):
            sys.stderr.write(
                f"--precision float16 is slower than float32 on {device}: "
                "leave it out for more speed\n"
            )
        for name in ignored_options(options, device):
            sys.stderr.write(f"--{name} needs a CUDA GPU and is ignored on {device}\n")
