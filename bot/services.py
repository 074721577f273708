"""What a job passes through."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bot.background import Background
from bot.ownership import Ownership
from bot.store import Store
from engine.serving import Engine
from prompt_expansion import PromptExpander


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts that the bot owns. `edit_interval_s`: seconds between two edits of one message."""

    store: Store
    engine: Engine
    expander: PromptExpander
    background: Background
    ownership: Ownership
    data_dir: Path
    edit_interval_s: float
