"""`python -m engine models`: the known models, and which are ready to run."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from common.text import printable
from engine.checkpoints.catalog import ModelCard
from engine.checkpoints.disk import gigabytes
from engine.checkpoints.hub.published import PUBLISHED
from engine.cli.options import add_model_dir, add_models_dir, catalog_of


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "models", help="list the known models", description="List the known models."
    )
    parser.add_argument("--json", action="store_true", help="for programs: a JSON list")
    add_model_dir(parser)
    add_models_dir(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the catalogue to stdout."""
    cards = catalog_of(arguments).cards()
    if arguments.json:
        sys.stdout.write(json.dumps([card_as_json(card) for card in cards], indent=2) + "\n")
    elif not cards:
        sys.stdout.write("No model is installed.\n")
    else:
        sys.stdout.write("\n".join(printable(_as_text(card)) for card in cards) + "\n")


def _as_text(card: ModelCard) -> str:
    if not card.installed:
        model = PUBLISHED[card.name]
        return (
            f"{card.name}  {card.task}  not installed: {model.install_command}  "
            f"({gigabytes(model.download_bytes)}, {card.licence}): {card.title}"
        )
    if not card.ready:
        return f"{card.name}  {card.task}  NOT READY: {card.problem}"
    rates = "/".join(map(str, card.fps_choices))
    return (
        f"{card.name}  {card.task}  ready  {card.width}x{card.height}, {card.num_frames} frames, "
        f"{rates} fps, revision {card.revision}, {card.licence}: {card.title}"
    )


def card_as_json(card: ModelCard) -> dict[str, Any]:
    """A card for programs."""
    return {
        "name": card.name,
        "title": card.title,
        "task": card.task,
        "family": card.family,
        "installed": card.installed,
        "ready": card.ready,
        "problem": card.problem,
        "path": str(card.path),
        "revision": card.revision,
        "base": card.base,
        "loras": [{"path": str(lora.path), "weight": lora.weight} for lora in card.loras],
        "width": card.width,
        "height": card.height,
        "sizes": [list(size) for size in card.sizes],
        "num_frames": card.num_frames,
        "fps": list(card.fps_choices),
        "default_fps": card.default_fps,
        "playback_fps": card.playback_fps,
        "default_steps": card.default_steps,
        "max_steps": card.max_steps,
        "default_guidance": card.default_guidance,
        "max_guidance": card.max_guidance,
        "scheduler": card.scheduler,
        "licence": card.licence,
    }
