"""Checks of the models and of prompt expansion."""

from __future__ import annotations

from collections.abc import Iterator

from bot.checks.report import Check, Status
from bot.settings import Settings
from engine.serving import Engine, ModelCard


def check_models(settings: Settings, engine: Engine) -> Iterator[Check]:
    """Every known model; the ones that the commands use by default must be ready."""
    cards = {card.name: card for card in engine.models()}
    wanted = (
        ("models.text_to_video", settings.models.text_to_video, "text-to-video"),
        ("models.image_to_video", settings.models.image_to_video, "image-to-video"),
    )
    for key, name, task in wanted:
        if name not in cards:
            yield Check(
                f"model {name}",
                Status.FAIL,
                f"{key} names a model that is not installed",
                f"Set {key} to one of: {', '.join(cards) or 'none is installed'}.",
            )
        elif cards[name].ready and cards[name].task != task:
            yield Check(
                f"model {name}",
                Status.FAIL,
                f"{key} needs a model for {task}; this one is for {cards[name].task}",
                f"Set {key} to another model.",
            )
    for card in cards.values():
        yield _card(card, required=any(card.name == name for _, name, _ in wanted))


def check_expansion(settings: Settings) -> Check:
    """How prompts are expanded. No server is asked."""
    wanted = settings.expansion
    if wanted.backend != "openai":
        return Check("prompt expansion", Status.OK, f"backend {wanted.backend}")
    return Check("prompt expansion", Status.OK, f"{wanted.model} at {wanted.base_url}")


def _card(card: ModelCard, *, required: bool) -> Check:
    name = f"model {card.name}"
    if not card.ready:
        return Check(
            name,
            Status.FAIL if required else Status.WARN,
            card.problem or "not ready",
            "Install the model again, or take it out of the settings.",
        )
    return Check(
        name,
        Status.OK,
        f"{card.title}, {card.task}, {card.width}x{card.height}, "
        f"revision {card.revision}, licence {card.licence}",
    )
