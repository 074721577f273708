"""From prompts to the text features that the UNet attends to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from engine.models.unet import TEXT_TOKENS
from engine.pipelines.clip_tokens import clean_prompt, token_ids

logger = logging.getLogger(__name__)

TextLayer = Literal["last", "penultimate"]

# The released models were trained with this padding and not with the tokenizer's end token.
_PAD_ID = 0

_LONGEST_WORD = 30
"""Characters; whatever is longer is no word, but a script without blanks."""


def tokenise(tokenizer: CLIPTokenizer, prompts: Sequence[str]) -> Tensor:
    """Token ids as the models were trained with: start, words, end, zeros (see `clip_tokens`).

    Words that do not fit are left out (with a warning); the end token stays.

    Args:
        tokenizer: the tokenizer of the text encoder.
        prompts: `B` texts, empty ones allowed.

    Returns:
        int64 `[B, 77]`.
    """
    rows = []
    for prompt in prompts:
        ids = token_ids(tokenizer, clean_prompt(prompt))
        if len(ids) > TEXT_TOKENS:
            logger.warning("prompt: %d tokens, of which the model reads 77", len(ids))
            ids = [*ids[: TEXT_TOKENS - 1], ids[-1]]
        rows.append(ids + [_PAD_ID] * (TEXT_TOKENS - len(ids)))
    return torch.tensor(rows, dtype=torch.int64)


def unread_end(tokenizer: CLIPTokenizer, prompt: str) -> str:
    """Return the end of a prompt that the model does not read, from the first word cut off.

    In a text without blanks it begins with the first character cut off. "" if all is read.
    The text is that of `clean_prompt`.
    """
    text = clean_prompt(prompt)

    def fits(part: str) -> bool:
        return len(token_ids(tokenizer, part)) <= TEXT_TOKENS

    # Every token is made of at least one byte.
    if len(text.lower().encode()) <= TEXT_TOKENS - 2 or fits(text):
        return ""
    words = text.split()
    read = _longest(len(words), lambda count: fits(" ".join(words[:count])))
    first = words[read]
    if len(first) > _LONGEST_WORD:
        before = "".join(f"{word} " for word in words[:read])
        words[read] = first[_longest(len(first), lambda count: fits(before + first[:count])) :]
    return " ".join(words[read:])


def _longest(total: int, fits: Callable[[int], bool]) -> int:
    """The largest number below `total` that fits; 0 does, `total` does not."""
    low, high = 0, total
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def encode_text(text_encoder: CLIPTextModel, token_ids: Tensor, layer: TextLayer) -> Tensor:
    """Text features, all 77 positions, normalised by the encoder's final layer norm.

    Args:
        text_encoder: CLIP text model.
        token_ids: `[B, 77]`.
        layer: "penultimate" skips the last transformer block.

    Returns:
        `[B, 77, D]` in the type of the encoder.
    """
    if layer == "last":
        last: Tensor = text_encoder(token_ids).last_hidden_state
        return last
    states = text_encoder(token_ids, output_hidden_states=True).hidden_states
    penultimate: Tensor = text_encoder.final_layer_norm(states[-2])
    return penultimate
