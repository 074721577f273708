"""Checks of the models and of prompt expansion."""

from __future__ import annotations

from collections.abc import Iterator

from bot.doctor.report import DiagnosticResult, Status
from bot.lifecycle.install_models import fits, install_command, missing_models
from bot.settings import Settings
from engine.checkpoints import PUBLISHED, DiskSpaceError, check_space
from engine.serving import Engine, ModelCard
from prompt_expansion.address import advice, without_secrets


def check_models(settings: Settings, engine: Engine) -> Iterator[DiagnosticResult]:
    """Check every known model; the commands' defaults must be ready."""
    cards = {card.name: card for card in engine.models()}
    wanted = (
        ("models.text_to_video", settings.models.text_to_video, "text-to-video"),
        ("models.image_to_video", settings.models.image_to_video, "image-to-video"),
    )
    for key, name, task in wanted:
        if name not in cards:
            yield DiagnosticResult(
                f"model {name}",
                Status.FAIL,
                f"{key} names a model that is not installed",
                f"Set {key} to one of: {', '.join(cards) or 'none is installed'}.",
            )
        elif (cards[name].ready or not cards[name].installed) and cards[name].task != task:
            yield DiagnosticResult(
                f"model {name}",
                Status.FAIL,
                f"{key} needs a model for {task}; this one is for {cards[name].task}",
                f"Set {key} to another model.",
            )
    missing = {model.name for key, model in missing_models(settings).items() if fits(key, model)}
    for card in cards.values():
        if card.name in missing:
            yield _missing(card.name, settings)
        elif card.installed:
            yield _card(card, required=any(card.name == name for _, name, _ in wanted))


def _missing(name: str, settings: Settings) -> DiagnosticResult:
    """Report a published model that the next start would download. Nothing is downloaded here."""
    model = PUBLISHED[name]
    command = install_command(model, settings)
    if not settings.models.download:
        return DiagnosticResult(
            f"model {name}",
            Status.FAIL,
            f"not installed, and models.download is off. {model.offer}",
            f"Install it with: {command}",
        )
    try:
        check_space({settings.models_dir: 2 * model.download_bytes})
    except DiskSpaceError as error:
        return DiagnosticResult(
            f"model {name}", Status.FAIL, f"not installed: {error}", "Free some space first."
        )
    return DiagnosticResult(
        f"model {name}",
        Status.WARN,
        f"not installed; the next start fetches it. {model.offer}",
        f"Or install it now: {command}",
    )


def check_warm_up(settings: Settings, engine: Engine) -> DiagnosticResult:
    """Report the models loaded at the start. None is loaded here: a bot may run beside this."""
    if not settings.engine.warm_up:
        return DiagnosticResult(
            "warm-up", Status.OK, "off: the first clip of each model waits for it"
        )
    wanted = {settings.models.text_to_video, settings.models.image_to_video}
    ready = [card.name for card in engine.models() if card.name in wanted and card.ready]
    if not ready:
        return DiagnosticResult("warm-up", Status.OK, "nothing: no model is ready")
    devices = ", ".join(engine.devices)
    return DiagnosticResult(
        "warm-up", Status.OK, f"{', '.join(ready)} are loaded at the start on {devices}"
    )


def check_expansion(settings: Settings) -> DiagnosticResult:
    """Report how prompts are expanded. No server is asked."""
    wanted = settings.expansion
    name = "prompt expansion"
    use = "for every prompt" if wanted.enabled else "only for those who ask for it"
    if wanted.backend == "none":
        return DiagnosticResult(name, Status.OK, "off (backend none)")
    if wanted.backend == "offline":
        return DiagnosticResult(
            name, Status.OK, f"by rules on this machine (backend offline), {use}"
        )
    server = f"{wanted.model} at {without_secrets(wanted.base_url)}, {use}"
    problem = advice(wanted.base_url, has_key=wanted.api_key is not None)
    return DiagnosticResult(name, Status.OK if problem is None else Status.WARN, server, problem)


def _card(card: ModelCard, *, required: bool) -> DiagnosticResult:
    name = f"model {card.name}"
    if not card.ready:
        return DiagnosticResult(
            name,
            Status.FAIL if required else Status.WARN,
            card.problem or "not ready",
            "Install the model again, or take it out of the settings.",
        )
    return DiagnosticResult(
        name,
        Status.OK,
        f"{card.title}, {card.task}, {card.width}x{card.height}, "
        f"revision {card.revision}, licence {card.licence}",
    )
