"""Prompts of models with a CLIP text encoder: the words that one does not read."""

from __future__ import annotations

import logging
import threading

from transformers import CLIPTokenizer

from engine.checkpoints.catalog import ModelCard
from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.loading.load import load_tokenizer
from engine.pipelines.text import unread_end

logger = logging.getLogger(__name__)

_CACHED = 8


class ClipPromptMeter:
    """Measures prompts with the models' own tokenizers. Safe for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokenizers: dict[tuple[str, str], CLIPTokenizer | None] = {}

    def unread(self, card: ModelCard, prompt: str) -> str | None:
        """Return the end of a prompt that the model does not read; None if it reads all."""
        with self._lock:
            tokenizer = self._tokenizer(card)
            return None if tokenizer is None else unread_end(tokenizer, prompt) or None

    def _tokenizer(self, card: ModelCard) -> CLIPTokenizer | None:
        key = str(card.path), card.revision
        if key not in self._tokenizers:
            while len(self._tokenizers) >= _CACHED:
                del self._tokenizers[next(iter(self._tokenizers))]
            try:
                self._tokenizers[key] = load_tokenizer(card.path / "tokenizer")
            except ModelLoadError as error:
                # The job fails over it, where the operator reads why.
                logger.debug("prompts for %s are not measured: %s", card.name, error)
                self._tokenizers[key] = None
        return self._tokenizers[key]
