"""A small CLIP tokenizer for the demo model: CLIP's own algorithm, a few hundred tokens."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
MAX_TOKENS = 77


def make_tokenizer(words: Iterable[str]) -> CLIPTokenizer:
    """Train byte-pair merges so that each of ``words`` is one token.

    Any other word still has a spelling, in bytes, so no prompt is refused. Id 0 pads, as in the
    text towers of VideoCrafter.
    """
    model = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=100_000,  # no bound: merge until every word is whole
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
        min_frequency=1,
    )
    model.train_from_iterator(sorted(set(words)), trainer)
    trained = model.get_vocab()
    merged = [token for token in sorted(trained, key=trained.__getitem__) if token not in alphabet]
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet)]
    tokens += [token for token in merged if token not in tokens]
    vocabulary = {token: index for index, token in enumerate([*tokens, START, END])}
    merges = _merges(model)
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=merges,  # type: ignore[arg-type]  # pairs are accepted too
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=tokens[0],
        model_max_length=MAX_TOKENS,
    )


def _merges(model: Tokenizer) -> list[tuple[str, str]]:
    import json

    pairs = json.loads(model.to_str())["model"]["merges"]
    return [(first, second) for first, second in pairs]
