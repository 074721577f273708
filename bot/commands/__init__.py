"""The slash commands: each module of this package that has a `setup(bot)` adds a group of them."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.jobs.client import StudioClient


async def add_commands(bot: StudioClient) -> None:
    """Add the commands of every module of this package, in the order of their names."""
    for found in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{found.name}")
        if (setup := getattr(module, "setup", None)) is not None:
            await setup(bot)
