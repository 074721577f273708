"""Download published models that the settings name and that are not installed yet."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from bot.lifecycle.requirements import StartupError
from bot.settings import Settings, SettingsError
from engine.checkpoints import (
    PUBLISHED,
    ModelLoadError,
    PublishedModel,
    install_model,
    is_installed,
)
from engine.checkpoints.hub.progress import ProgressBars

if TYPE_CHECKING:
    from engine.checkpoints.hub.client import Hub

_TASKS: Final = {"text_to_video": "text-to-video", "image_to_video": "image-to-video"}


def missing_models(
    settings: Settings, published: Mapping[str, PublishedModel] = PUBLISHED
) -> dict[str, PublishedModel]:
    """Return the published models that are not installed, by the setting that names each.

    A name that `models.extra` gives a folder is that folder's.
    """
    named = {key: getattr(settings.models, key) for key in _TASKS}
    return {
        f"models.{key}": published[name]
        for key, name in named.items()
        if name in published
        and name not in settings.models.extra
        and not is_installed(name, settings.models_dir)
    }


def ensure_models_installed(
    settings: Settings,
    published: Mapping[str, PublishedModel] = PUBLISHED,
    hub: Hub | None = None,
) -> None:
    """Install the models that the settings name; print source, size and licence to stderr.

    Blocks until it is done. An interrupted download goes on at the next start.

    Args:
        settings: name the models and their folder.
        published: what can be fetched.
        hub: from where; None: as the environment says.

    Raises:
        SettingsError: a model is named for a task that is not its own.
        StartupError: a model cannot be installed, or must not be.
        KeyboardInterrupt: Ctrl-C, or SIGTERM.
    """
    wanted = missing_models(settings, published)
    for key, model in wanted.items():
        if not fits(key, model):
            raise SettingsError(
                key,
                f"{key}: {model.name} is a model for {model.facts.task} and cannot be used here",
            )
    for key, model in wanted.items():
        if not settings.models.download:
            raise StartupError(
                f"{key} names {model.name}, which is not installed, and models.download is off; "
                f"install it with: {install_command(model, settings)}"
            )
        _tell(f"{key} names {model.name}, which is not installed yet and is fetched now.")
        _tell(model.offer)
        try:
            with _ended_by_sigterm(), ProgressBars() as bars:
                install_model(
                    model,
                    settings.models_dir,
                    hub=hub,
                    on_progress=bars,
                    on_wait=lambda: _tell("another process installs it already; waiting for that."),
                )
        except ModelLoadError as error:
            raise StartupError(f"{model.name} cannot be installed: {error}") from error


def fits(key: str, model: PublishedModel) -> bool:
    """Return whether the model is for the task of the setting that names it."""
    return model.facts.task == _TASKS[key.removeprefix("models.")]


def install_command(model: PublishedModel, settings: Settings) -> str:
    """Return the command that installs a model where the bot looks for it."""
    return f"{model.install_command} --models-dir {settings.models_dir}"


def _tell(text: str) -> None:
    sys.stderr.write(f"floor33: {text}\n")


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Treat SIGTERM (how a service is stopped) like Ctrl-C inside the block."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
