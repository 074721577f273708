"""CLIP's tokenizer without a network."""

from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from engine.checkpoints.original.tokenizer import clip_tokenizer
from engine.pipelines import tokenise


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return clip_tokenizer()


def test_known_ids(tokenizer: CLIPTokenizer) -> None:
    # The ids that CLIP's documentation and models use for these words.
    assert len(tokenizer) == 49408
    assert tokenizer("a photo of a cat")["input_ids"] == [49406, 320, 1125, 539, 320, 2368, 49407]


def test_padding_is_id_0_and_exclamation_marks_stay_words(tokenizer: CLIPTokenizer) -> None:
    padded = tokenizer("a cat!", padding="max_length", max_length=8)["input_ids"]
    assert padded == [49406, 320, 2368, 256, 49407, 0, 0, 0]


def test_saved_and_loaded_it_reads_the_same(tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    prompts = ["wow!! a cat's tail, 4k", "", "夜の海 🌊 naïve", "hey ! & <|endoftext|>"]
    tokenizer.save_pretrained(tmp_path)
    again = CLIPTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert tokenise(again, prompts).tolist() == tokenise(tokenizer, prompts).tolist()
