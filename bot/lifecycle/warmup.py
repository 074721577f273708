"""The first minutes: models are loaded, and estimates learn from earlier runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from typing import Final

from bot.protocols import BotClient
from bot.settings import Settings
from bot.store import GenerationRecord, Store
from engine.serving import Engine, RequestShape

logger = logging.getLogger(__name__)

PAST_RUNS: Final = 500
"""Clips that the estimates learn from at a start."""

WARMING: Final = "Warming up…"
READY: Final = "/imagine a clip"
_LOOK_S: Final = 0.5


def past_runs(generations: Iterable[GenerationRecord]) -> Iterator[tuple[RequestShape, float]]:
    """Yield the workload and the seconds of each earlier clip whose device is known."""
    for clip in generations:
        if clip.device is not None:
            workload = RequestShape(
                model=clip.params.model,
                width=clip.params.width,
                height=clip.params.height,
                num_frames=clip.params.num_frames,
                steps=clip.params.steps,
                device=clip.device,
            )
            yield workload, clip.elapsed_s


async def log_broken_models(engine: Engine) -> None:
    """Read the weight files once, and log which models are not ready.

    Nobody who types a command shall wait for the first look.
    """
    for card in await asyncio.to_thread(engine.models):
        if card.installed and not card.ready:
            logger.warning("model %s is not ready: %s", card.name, card.problem)


async def learn_from_past(engine: Engine, store: Store) -> None:
    """Teach the engine's estimates the clips of earlier runs. Raises StoreError."""
    engine.learn(past_runs(await store.past_generations(PAST_RUNS)))


async def load_models(engine: Engine, settings: Settings) -> None:
    """Have every device load the default models, if the settings say so."""
    if settings.engine.warm_up:
        models = (settings.models.text_to_video, settings.models.image_to_video)
        await asyncio.to_thread(engine.warm_up, models)


async def show_warm_up(bot: BotClient) -> None:
    """Say beside the bot's name that it is warming up, until a device is ready."""
    await bot.wait_until_ready()
    if not _ready(bot):
        await bot.status_line.show(WARMING)
        while not _ready(bot):  # noqa: ASYNC110 - threads tell no event loop
            await asyncio.sleep(_LOOK_S)
    await bot.status_line.show(READY)


def _ready(bot: BotClient) -> bool:
    workers = bot.engine.status()
    if not bot.settings.engine.warm_up:
        return True
    return any(worker.state not in ("starting", "warming") for worker in workers)
