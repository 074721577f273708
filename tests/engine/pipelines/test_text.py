"""Token ids and text features."""

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transformers import CLIPTextModel

from engine.pipelines import encode_text, tokenise
from tests.engine.pipelines.parts import END, START, make_components, make_tokenizer


def test_ids_are_start_words_end_and_zeros() -> None:
    tokenizer = make_tokenizer()
    start, end = tokenizer.convert_tokens_to_ids([START, END])
    cat, dog = tokenizer.convert_tokens_to_ids(["cat</w>", "dog</w>"])
    ids = tokenise(tokenizer, ["Cat  DOG", ""])
    assert ids.shape == (2, 77)
    assert ids.dtype == torch.int64
    assert ids[0, :4].tolist() == [start, cat, dog, end]
    assert ids[1, :2].tolist() == [start, end]
    assert not ids[0, 4:].any()
    assert not ids[1, 2:].any()


def test_a_long_prompt_keeps_its_end_token(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = make_tokenizer()
    end = tokenizer.convert_tokens_to_ids(END)
    with caplog.at_level(logging.WARNING):
        exact, long = tokenise(tokenizer, ["cat " * 75, "cat " * 300])
    assert exact.tolist() == long.tolist()
    assert long[-1] == end
    assert (long == end).sum() == 1
    assert [record.args for record in caplog.records] == [(302,)]


def test_web_escapes_are_read_as_what_they_mean() -> None:
    tokenizer = make_tokenizer()
    assert torch.equal(
        tokenise(tokenizer, ["cat &amp; dog", "cat &amp;amp; dog "]),
        tokenise(tokenizer, ["cat & dog"] * 2),
    )


def test_threads_may_share_a_tokenizer() -> None:
    tokenizer = make_tokenizer()
    prompts = ["cat " * count for count in (1, 20, 100)]
    expected = tokenise(tokenizer, prompts)
    with ThreadPoolExecutor(4) as pool:
        for ids in pool.map(lambda _: tokenise(tokenizer, prompts), range(40)):
            assert torch.equal(ids, expected)


def test_penultimate_is_the_model_without_its_last_block() -> None:
    encoder: CLIPTextModel = make_components(image=False)["text_encoder"]
    ids = tokenise(make_tokenizer(), ["a cat", "dogs"])
    penultimate = encode_text(encoder, ids, "penultimate")
    last = encode_text(encoder, ids, "last")
    assert not torch.allclose(penultimate, last, atol=1e-2)
    del encoder.encoder.layers[-1]
    torch.testing.assert_close(encode_text(encoder, ids, "last"), penultimate)
