"""The first minutes: models are loaded, and estimates learn from earlier runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Final

from bot.protocols import BotClient
from bot.store import GenerationRecord
from engine.serving import Workload

PAST_RUNS: Final = 500
"""Clips that the estimates learn from at a start."""

WARMING: Final = "Warming up…"
READY: Final = "/imagine a clip"
_LOOK_S: Final = 0.5


def past_runs(generations: Iterable[GenerationRecord]) -> Iterator[tuple[Workload, float]]:
    """Yield the workload and the seconds of each earlier clip whose device is known."""
    for clip in generations:
        if clip.device is not None:
            workload = Workload(
                model=clip.params.model,
                width=clip.params.width,
                height=clip.params.height,
                num_frames=clip.params.num_frames,
                steps=clip.params.steps,
                device=clip.device,
            )
            yield workload, clip.elapsed_s


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
