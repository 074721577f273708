"""Which words a model does not read, by its own tokenizer."""

import pytest
from transformers import CLIPTokenizer

from engine.checkpoints.original.tokenizer import clip_tokenizer
from engine.pipelines.text import unread_end


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return clip_tokenizer()


@pytest.mark.parametrize(
    ("prompt", "unread"),
    [
        ("a cat", ""),
        ("", ""),
        ("cat " * 75, ""),
        ("cat " * 75 + "zebra", "zebra"),
        ("cat " * 70 + "zebra " * 10, "zebra zebra zebra zebra zebra"),
        ("cat " * 74 + "antidisestablishmentarianism ends", "antidisestablishmentarianism ends"),
        ("cat&amp;" * 10, ""),
        ("cat " * 76 + "&lt;b&gt;", "cat <b>"),
    ],
)
def test_the_first_word_that_is_cut_off(tokenizer: CLIPTokenizer, prompt: str, unread: str) -> None:
    assert unread_end(tokenizer, prompt) == unread


@pytest.mark.parametrize("prompt", ["猫" * 120, "🙂" * 120, "x" * 800])
def test_without_blanks_it_is_the_first_character(tokenizer: CLIPTokenizer, prompt: str) -> None:
    unread = unread_end(tokenizer, prompt)
    read = prompt.removesuffix(unread)
    assert 0 < len(read) < len(prompt)
    assert len(tokenizer(read)["input_ids"]) <= 77 < len(tokenizer(read + unread[0])["input_ids"])
