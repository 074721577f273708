"""CLIP's tokenizer, made of the published merges without a network."""

from __future__ import annotations

import gzip
from itertools import islice
from pathlib import Path
from typing import Final

from transformers import CLIPTokenizer

from engine.checkpoints.original.config import CLIP_POSITIONS, CLIP_VOCABULARY

_MERGES: Final = Path(__file__).resolve().parent / "data" / "bpe_simple_vocab_16e6.txt.gz"
_WORD_END: Final = "</w>"
_SPECIAL: Final = ("<|startoftext|>", "<|endoftext|>")
_PAD_ID: Final = 0


def clip_tokenizer() -> CLIPTokenizer:
    """The tokenizer of all released models: 49408 entries, 77 positions, padding with id 0.

    Saved and loaded again it pads with the end token, as CLIP's own does; the pipelines pad with
    zeros whatever the tokenizer says.
    """
    symbols = _byte_symbols()
    words = [*symbols, *(symbol + _WORD_END for symbol in symbols)]
    count = CLIP_VOCABULARY - len(words) - len(_SPECIAL)
    with gzip.open(_MERGES, "rt", encoding="utf-8") as lines:
        next(lines)  # a version line
        # The file goes on with merges that CLIP does not use.
        merges = [_pair(line) for line in islice(lines, count)]
    words += [left + right for left, right in merges]
    words += _SPECIAL
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = CLIPTokenizer(
        vocab=vocabulary,
        merges=merges,  # type: ignore[arg-type]  # the annotation is narrower than the code
        model_max_length=CLIP_POSITIONS,
    )
    # Past its setter, which would make the token of id 0 special: that is "!", and an exclamation
    # mark in a prompt would no longer be read as one.
    object.__setattr__(tokenizer, "pad_token_id", _PAD_ID)
    return tokenizer


def _pair(line: str) -> tuple[str, str]:
    left, right = line.split()
    return left, right


def _byte_symbols() -> list[str]:
    """The characters that stand for the 256 bytes in byte-pair vocabularies, in CLIP's order.

    Bytes that print in Latin-1 stand for themselves and come first; the others follow as the
    characters from 256 on.
    """
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in printing] + [chr(0x100 + i) for i in range(256 - len(printing))]
