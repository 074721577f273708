"""``python -m training data``: look at a data set, and encode it once for all."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from command_line.codes import CommandError, usage_error
from command_line.process import guarded
from common.validation import first_fault
from training.data.config import DataSetConfig, ResolutionConfig, WindowConfig
from training.data.errors import DataError
from training.data.text import printable

if TYPE_CHECKING:
    from training.data.manifest import Manifest
    from training.data.precompute import TextFeatureEncoder

# What argparse needs of `add_subparsers()`; its own class has no public name.
Subcommands = Any
ModelT = TypeVar("ModelT", bound=BaseModel)

DEFAULT_LIMIT = 1000


_OPTIONS = {"width": "--size (width)", "height": "--size (height)", "path": "PATH"}
"""Fields of configurations whose options have other names than they."""


def add_data_parser(commands: Subcommands) -> None:
    """Add ``data check`` and ``data precompute`` to a command line's subcommands."""
    data = commands.add_parser("data", help="look at a data set, or encode it beforehand")
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")

    check = actions.add_parser("check", help="what is there, what is broken, what it would fill")
    _add_set_options(check)
    check.add_argument("--json", action="store_true", help="report for programs")
    check.add_argument(
        "--limit",
        type=int,
        default=DEFAULT_LIMIT,
        help=f"samples to look at, spread over the set; 0: all (default: {DEFAULT_LIMIT})",
    )

    precompute = actions.add_parser("precompute", help="write latents and text features to disk")
    _add_set_options(precompute)
    precompute.add_argument("--output", type=Path, required=True, help="folder to write")
    precompute.add_argument("--vae", type=Path, required=True, help="folder of an AutoencoderKL")
    precompute.add_argument(
        "--text", type=Path, help="model folder with text_encoder and tokenizer"
    )
    precompute.add_argument("--text-layer", choices=("last", "penultimate"), default="penultimate")
    window = WindowConfig()
    precompute.add_argument("--pictures", action="store_true", help="single pictures, not clips")
    precompute.add_argument("--frames", type=int, default=window.frames)
    precompute.add_argument("--max-stride", type=int, default=window.max_stride)
    precompute.add_argument("--fps-jitter", type=float, default=window.fps_jitter)
    precompute.add_argument("--cut-threshold", type=float, default=window.cut_threshold)
    precompute.add_argument("--variants", type=int, default=1, help="windows of each clip")
    precompute.add_argument("--seed", type=int, default=0)
    precompute.add_argument("--device", default="cpu", help="torch device (default: cpu)")


def _add_set_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, help="folder, CSV file, or .tar shard")
    kinds = ("auto", "csv", "folder", "shards")
    parser.add_argument("--kind", choices=kinds, default="auto", help="default: found out")
    parser.add_argument("--media", type=Path, help="folder that a CSV's paths start from")
    parser.add_argument(
        "--allow-outside",
        action="store_true",
        help="read also files outside the set's folder that a table or a link names",
    )
    parser.add_argument("--size", default="512x320", help="WIDTHxHEIGHT of training, in pixels")
    parser.add_argument("--no-buckets", action="store_true", help="crop all to that one size")
    parser.add_argument("--multiple", type=int, default=64, help="bucket sides are multiples of it")
    parser.add_argument("--max-enlargement", type=float, default=1.25)
    parser.add_argument("--workers", type=int, default=2, help="decoding threads")


def run_data(options: argparse.Namespace) -> int:
    """Run ``data check`` or ``data precompute``.

    Returns:
        0; 1 where nothing can be used or something fails; 2 for wrong usage. Errors are one line
        on stderr.
    """
    return guarded(lambda: _carried_out(options), prefix="training: ")


def _carried_out(options: argparse.Namespace) -> int:
    try:
        if not options.path.exists():
            raise usage_error(f"{options.path} does not exist")
        return _check(options) if options.action == "check" else _precompute(options)
    except (DataError, OSError) as error:
        raise CommandError(printable(str(error))) from error


def _check(options: argparse.Namespace) -> int:
    from training.data.inspection import as_text, inspect_source
    from training.data.sources import open_source

    if options.limit < 0:
        raise usage_error(f"--limit must be 0 or more, not {options.limit}")
    resolution = _resolution(options)

    def progress(done: int, total: int) -> None:
        if total > DEFAULT_LIMIT:
            print(f"{done:,} of {total:,} looked at", file=sys.stderr)

    report = inspect_source(
        open_source(_data_set(options)),
        resolution,
        limit=options.limit,
        workers=options.workers,
        progress=progress,
    )
    print(json.dumps(report.as_json(), indent=1) if options.json else as_text(report))
    if report.usable:
        return 0
    raise CommandError(f"nothing in {options.path} can be used")


def _precompute(options: argparse.Namespace) -> int:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    from training.data.precompute import PrecomputeConfig, precompute
    from training.data.sources import open_source

    window = None
    if not options.pictures:
        window = _valid(
            WindowConfig,
            frames=options.frames,
            max_stride=options.max_stride,
            fps_jitter=options.fps_jitter,
            cut_threshold=options.cut_threshold,
        )
    config = _valid(
        PrecomputeConfig,
        resolution=_resolution(options),
        window=window,
        variants=options.variants,
        seed=options.seed,
    )
    source = open_source(_data_set(options))
    device = _device(options.device)
    vae = _loaded("--vae", options.vae, AutoencoderKL).eval().to(device)
    text = _text_tower(options, device) if options.text is not None else None

    def report(manifest: Manifest) -> None:
        done = manifest.shards[-1].end
        print(f"{done:,} of {manifest.source.samples:,} samples", file=sys.stderr)

    manifest = precompute(
        source,
        config,
        options.output,
        source_path=str(options.path),
        vae=vae,
        vae_name=str(options.vae),
        text=text,
        workers=options.workers,
        report=report,
    )
    made = sum(shard.samples for shard in manifest.shards)
    skipped = sum(sum(shard.skipped.values()) for shard in manifest.shards)
    print(f"{options.output}: {made:,} samples, {skipped:,} left out")
    return 0


def _text_tower(options: argparse.Namespace, device: str) -> TextFeatureEncoder:
    from transformers import CLIPTextModel, CLIPTokenizer

    from training.data.precompute import TextFeatureEncoder

    encoder = _loaded("--text", options.text / "text_encoder", CLIPTextModel)
    tokenizer = _loaded("--text", options.text / "tokenizer", CLIPTokenizer, is_network=False)
    return TextFeatureEncoder(
        str(options.text), encoder.eval().to(device), tokenizer, options.text_layer
    )


def _loaded(option: str, folder: Path, kind: Any, *, is_network: bool = True) -> Any:
    if not folder.is_dir():
        raise usage_error(f"{option}: {folder} does not exist")
    try:
        # A pickle is never opened.
        return kind.from_pretrained(folder, **({"use_safetensors": True} if is_network else {}))
    except (OSError, ValueError) as error:
        raise usage_error(f"{option}: {folder} cannot be loaded: {error}") from error


def _device(name: str) -> str:
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        # torch says in this way that there is no such device, or that it was built without it.
        raise usage_error(f"--device: {name!r} cannot be used: {error}") from error
    return name


def _data_set(options: argparse.Namespace) -> DataSetConfig:
    return _valid(
        DataSetConfig,
        path=options.path,
        kind=options.kind,
        media=options.media,
        allow_outside=options.allow_outside,
    )


def _resolution(options: argparse.Namespace) -> ResolutionConfig:
    width, _, height = options.size.partition("x")
    return _valid(
        ResolutionConfig,
        width=width,
        height=height,
        buckets=not options.no_buckets,
        multiple=options.multiple,
        max_enlargement=options.max_enlargement,
    )


def _valid(model: type[ModelT], **values: object) -> ModelT:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        fault = first_fault(error)
        field = fault.path[0] if fault.path else ""
        option = _OPTIONS.get(field, f"--{field.replace('_', '-')}") if field else model.__name__
        raise usage_error(f"{option}: {fault.message}{fault.value_note}") from error
