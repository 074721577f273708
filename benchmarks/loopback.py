"""A real bot process on a Discord of this machine, for benchmarks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.loopback_discord import LoopbackDiscord
from tests.loopback_discord.process import BotProcesses

USERS: Final = range(5_001, 5_051)
_CONFIG: Final = """
data_dir = "{data}"
[engine]
devices = ["cpu"]
[limits]
max_active_jobs_per_user = 1000
max_active_jobs_per_guild = 100000
"""


@contextmanager
def running_bot(patience_s: float) -> Iterator[tuple[LoopbackDiscord, BotProcesses]]:
    """A bot that serves the demo models on the CPU, once it is ready, and its Discord.

    Nobody is refused for having asked for too much. `patience_s`: how long it may take to start.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "bot.toml"
        config.write_text(_CONFIG.format(data=Path(folder) / "data"))
        log = Path(folder) / "log"
        with LoopbackDiscord() as discord, BotProcesses(discord, config, log) as bots:
            bots.start()
            discord.wait_ready(patience_s)
            yield discord, bots
