"""``python -m engine generate``: one clip without a bot."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from command_line.progress import ProgressLine
from engine.checkpoints.folder.lora import LoraVariant
from engine.cli.errors import CommandError, option_error, usage_error
from engine.cli.failures import explain_failure
from engine.cli.memory import add_memory_options, memory_options, tell_ignored_options
from engine.cli.options import add_lora, add_model_dir, add_models_dir, check_given_paths

if TYPE_CHECKING:  # the serving layer needs torch, which other commands can do without
    from engine.serving import Engine, GenerationRequest, Job

_JOB_ID = "clip"
_SIZE = re.compile(r"(\d{1,5})[xX](\d{1,5})")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "generate",
        help="make one clip",
        description="Make one clip. Progress goes to stderr, the path of the MP4 to stdout.",
        epilog="What is not given takes the model's default; see `python -m engine models`.",
    )
    parser.add_argument("--model", required=True, help="a name from `python -m engine models`")
    parser.add_argument("--prompt", required=True, help="what the clip shall show")
    parser.add_argument("--output", required=True, type=Path, metavar="F.mp4")
    parser.add_argument("--image", type=Path, help="the picture to start from (image-to-video)")
    parser.add_argument("--negative", help="what the clip shall not show")
    parser.add_argument("--seed", type=int, help="0 to 2^32-1; equal seeds give equal clips")
    parser.add_argument("--steps", type=int, help="sampling steps")
    parser.add_argument("--guidance", type=float, help="how closely to follow the prompt; from 1")
    parser.add_argument("--fps", type=int, help="frames per second")
    parser.add_argument("--size", type=_size, metavar="WxH", help="pixels")
    parser.add_argument("--frames", type=int, help="number of frames")
    parser.add_argument("--device", help='"cpu", "cuda", "cuda:1", "mps"; default: a GPU if any')
    parser.add_argument("--threads", type=int, help="CPU threads")
    add_lora(parser)
    add_model_dir(parser)
    add_models_dir(parser)
    add_memory_options(parser)
    parser.set_defaults(run=run)


def _size(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form WxH, such as 64x64")
    return int(match[1]), int(match[2])


def run(arguments: argparse.Namespace) -> None:
    """Make the clip and print its path.

    Raises:
        CommandError: with code 2 for what the caller can put right in the command, else 1.
    """
    output: Path = arguments.output.expanduser()
    if output.suffix.lower() != ".mp4":
        raise usage_error(f"--output {output}: the name must end in .mp4")
    if output.is_dir():
        raise usage_error(f"--output {output}: this is a folder")
    check_given_paths(arguments)
    image = _read_image(arguments.image)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the finished clip only has to be renamed.
        workplace = tempfile.TemporaryDirectory(
            prefix=".floor33-", dir=output.parent, ignore_cleanup_errors=True
        )
    except OSError as error:
        raise CommandError(f"--output {output}: {error.strerror or error}") from error
    with workplace as folder:
        import engine.serving  # noqa: F401 - not inside the loop: there Ctrl-C would wait for it

        made = asyncio.run(_generate(arguments, image, Path(folder)))
        try:
            os.replace(made, output)
        except OSError as error:
            raise CommandError(f"--output {output}: {error.strerror or error}") from error
    sys.stdout.write(f"{output}\n")


def _read_image(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise usage_error(f"--image {path}: {error.strerror or error}") from error


async def _generate(arguments: argparse.Namespace, image: bytes | None, folder: Path) -> Path:
    from engine.serving import GenerationRequest, JobCancelled, JobFailed, RequestError

    _check_encoder()
    seed = secrets.randbelow(2**32) if arguments.seed is None else arguments.seed
    width, height = arguments.size or (None, None)
    request = GenerationRequest(
        job_id=_JOB_ID,
        model=_model_name(arguments),
        prompt=arguments.prompt,
        negative_prompt=arguments.negative,
        seed=seed,
        image=image,
        fps=arguments.fps,
        steps=arguments.steps,
        guidance=arguments.guidance,
        width=width,
        height=height,
        num_frames=arguments.frames,
    )
    async with _engine(arguments, folder) as engine:
        _refuse_broken_model(engine, request.model)
        try:
            job = engine.submit(request)
            await _show_progress(job, request)
            result = await job.result()
        except RequestError as error:
            raise option_error(error.field, error.message) from error
        except JobFailed as error:
            raise CommandError(explain_failure(error)) from error
        except JobCancelled as error:
            raise CommandError("Cancelled.") from error
    return result.path


def _check_encoder() -> None:
    """Name what is missing before anything is loaded."""
    from engine.serving.media.ffmpeg import EncoderMissingError, find_ffmpeg

    try:
        find_ffmpeg()
    except EncoderMissingError as error:
        raise CommandError(
            f"The video encoder (ffmpeg) is missing or incomplete: {error}"
        ) from error


@asynccontextmanager
async def _engine(arguments: argparse.Namespace, folder: Path) -> AsyncIterator[Engine]:
    from engine.serving import Engine, EngineSettings, EngineSettingsError

    try:
        options = memory_options(arguments)
        engine = Engine(
            EngineSettings(
                output_dir=folder,
                devices=None if arguments.device is None else (arguments.device,),
                model_dirs=dict(arguments.model_dir),
                model_variants=_variants(arguments),
                model_options={_model_name(arguments): options},
                models_dir=arguments.models_dir,
                threads=arguments.threads,
                previews_per_job=0,
            )
        )
    except EngineSettingsError as error:
        raise option_error(error.key, error.message) from error
    tell_ignored_options(options, engine.devices)
    async with engine:
        yield engine


def _model_name(arguments: argparse.Namespace) -> str:
    name: str = arguments.model
    return f"{name}+lora" if arguments.lora else name


def _variants(arguments: argparse.Namespace) -> dict[str, LoraVariant]:
    if not arguments.lora:
        return {}
    return {_model_name(arguments): LoraVariant(arguments.model, tuple(arguments.lora))}


def _refuse_broken_model(engine: Engine, name: str) -> None:
    """On the command line the caller is the operator too, so the reason is told at once."""
    for card in engine.models():
        if card.name == name and not card.ready:
            raise CommandError(f"The model {name} is not ready: {card.problem}")


async def _show_progress(job: Job, request: GenerationRequest) -> None:
    """Show on stderr how many steps are done until the job ends."""
    from engine.serving import Progress, Started

    sys.stderr.write(f"{request.model}, seed {request.seed}\n")
    with ProgressLine(job.settings.params.steps, "steps", "waiting") as line:
        async for event in job.events():
            if isinstance(event, Started):
                line.label(f"on {event.device}")
            elif isinstance(event, Progress):
                line.advance_to(event.step)
