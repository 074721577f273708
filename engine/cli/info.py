"""`python -m engine info`: everything that is known about one model."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from common.text import printable
from engine.checkpoints.catalog import Catalog, ModelCard
from engine.checkpoints.disk import gigabytes
from engine.checkpoints.errors import ModelLoadError, UnknownModelError
from engine.checkpoints.folder.weights import count_parameters
from engine.checkpoints.hub.published import PUBLISHED
from engine.cli.errors import usage_error
from engine.cli.models import card_as_json
from engine.cli.options import add_model_dir, add_models_dir, catalog_of


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "info",
        help="tell everything about one model",
        description="Tell everything about one model, installed or not.",
    )
    parser.add_argument("model", metavar="NAME|FOLDER", help="a name, or a model folder")
    parser.add_argument("--json", action="store_true", help="for programs: a JSON object")
    add_model_dir(parser)
    add_models_dir(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the facts to stdout.

    Raises:
        CommandError: with code 2 where there is no such model, with code 1 where it is damaged.
    """
    card = _find(arguments.model, catalog_of(arguments))
    facts = _facts(card)
    if arguments.json:
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
    else:
        sys.stdout.write(_as_text(card, facts) + "\n")


def _find(model: str, catalog: Catalog) -> ModelCard:
    try:
        return catalog.get(model)
    except UnknownModelError as error:
        folder = Path(model).expanduser()
        if not folder.is_dir():
            raise usage_error(f"{error} There is no such folder either.") from error
        name = folder.resolve().name
        return Catalog({name: folder}).get(name)


def _facts(card: ModelCard) -> dict[str, Any]:
    """For programs; what is not known is null."""
    model = PUBLISHED.get(card.name)
    origin = card.origin
    return card_as_json(card) | {
        "parameters": _parameters(card),
        "disk_bytes": _disk_bytes(card.path) if card.installed else None,
        "origin": None if origin is None else origin.model_dump(),
        "hub": None
        if model is None
        else {
            "preset": model.preset.name,
            "hub_repo": model.hub_repo,
            "file": model.filename,
            "revision": model.revision,
            "download_bytes": model.download_bytes,
            "install": model.install_command,
        },
    }


def _parameters(card: ModelCard) -> dict[str, int] | None:
    """Weights of each part, counted in the files, or in the networks that would be filled."""
    if card.ready:
        try:
            return count_parameters(card.path)
        except ModelLoadError:
            return None  # changed since the card was made
    if card.installed:
        return None
    from engine.checkpoints.original.plan import make_plan

    plan = make_plan(PUBLISHED[card.name].preset.config)
    return {
        name: sum(weight.numel() for weight in part.module.parameters())
        for name, part in plan.components.items()
    }


def _disk_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _as_text(card: ModelCard, facts: dict[str, Any]) -> str:
    rows: list[tuple[str, str]] = [("model", f"{card.name}: {card.title}"), ("task", card.task)]
    if card.ready:
        rows.append(("state", f"ready, {gigabytes(facts['disk_bytes'])} in {card.path}"))
        rows.append(("weights", f"revision {card.revision}"))
    else:
        rows.append(("state", f"NOT READY: {card.problem}"))
    if card.base is not None:
        rows.append(("made of", f"the model {card.base}"))
        rows += [("", f"{lora.path}, weight {lora.weight:g}") for lora in card.loras]
    if card.origin is not None:
        rows.append(("from", f"{card.origin.hub_repo}/{card.origin.file}"))
        rows.append(("", f"commit {card.origin.revision}"))
        rows.append(("", f"SHA-256 {card.origin.sha256}"))
    elif hub := facts["hub"]:
        rows.append(("from", f"{hub['hub_repo']}/{hub['file']}, revision {hub['revision']}"))
        rows.append(("", f"about {gigabytes(hub['download_bytes'])} to download"))
    if card.width:
        rows += _use(card)
    if parameters := facts["parameters"]:
        parts = ", ".join(f"{name} {_millions(count)}" for name, count in parameters.items())
        rows.append(("parameters", f"{_millions(sum(parameters.values()))}: {parts}"))
    if card.licence:
        rows.append(("licence", card.licence))
    return "\n".join(f"{label:<11} {printable(text)}" for label, text in rows)


def _use(card: ModelCard) -> list[tuple[str, str]]:
    rates = ", ".join(map(str, card.fps_choices))
    playback = f"; clips play at {card.playback_fps}" if card.playback_fps else ""
    sizes = ", ".join(f"{width}x{height}" for width, height in card.sizes)
    return [
        ("clips", f"{card.width}x{card.height}, {card.num_frames} frames"),
        ("sizes", sizes),
        ("fps", f"{rates} (default {card.default_fps}{playback})"),
        ("steps", f"1 to {card.max_steps} (default {card.default_steps}, {card.scheduler})"),
        ("guidance", f"1 to {card.max_guidance:g} (default {card.default_guidance:g})"),
    ]


def _millions(count: int) -> str:
    return f"{count / 1e6:,.1f} M"
