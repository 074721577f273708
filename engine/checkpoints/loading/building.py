"""Let one thread at a time build a network."""

from __future__ import annotations

import threading
from typing import Final

BUILDING: Final = threading.Lock()
"""Held while diffusers, peft or transformers build a network.

They replace functions of torch for the whole process meanwhile, so that no memory is filled twice.
A network that another thread builds at that moment would be left without weights.
"""
