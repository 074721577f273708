"""Tensors that do not fit are refused by name before the network runs, or when they come."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.pipelines import ImageToVideoPipeline, TextToVideoPipeline
from tests.engine.conftest import tiny_components

CALL: dict[str, Any] = {"height": 32, "width": 32, "num_frames": 2, "num_inference_steps": 2}
LATENTS = (1, 4, 2, 8, 8)


@pytest.fixture(scope="module")
def t2v() -> TextToVideoPipeline:
    return TextToVideoPipeline(**tiny_components(with_image=False))


@pytest.fixture(scope="module")
def i2v() -> ImageToVideoPipeline:
    return ImageToVideoPipeline(**tiny_components(with_image=True))


UNFIT: dict[str, Any] = {
    "a list": [torch.zeros(1, 77, 16)],
    "an array": np.zeros((1, 77, 16), np.float32),
    "a text": "a cat",
    "an empty batch": torch.zeros(0, 77, 16),
    "whole numbers": torch.zeros(1, 77, 16, dtype=torch.int64),
    "truth values": torch.zeros(1, 77, 16, dtype=torch.bool),
    "complex numbers": torch.zeros(1, 77, 16, dtype=torch.complex64),
    "no batch": torch.zeros(77, 16),
    "fewer tokens": torch.zeros(1, 76, 16),
    "another width": torch.zeros(1, 77, 8),
}


@pytest.mark.parametrize("embeds", UNFIT.values(), ids=UNFIT)
def test_text_features_that_do_not_fit(t2v: TextToVideoPipeline, embeds: Any) -> None:
    with pytest.raises(ValueError, match=r"^prompt_embeds: .*\[B, 77, 16\]"):
        t2v(prompt_embeds=embeds, **CALL)
    with pytest.raises(ValueError, match=r"^negative_prompt_embeds: .*\[B, 77, 16\]"):
        t2v("a cat", negative_prompt_embeds=embeds, **CALL)


IMAGE_UNFIT: dict[str, Any] = {
    "another number of tokens": torch.zeros(1, 7, 16),
    "no tokens": torch.zeros(1, 0, 16),
    "an empty batch": torch.zeros(0, 4, 16),
    "a list": [torch.zeros(1, 4, 16)],
    "an array": np.zeros((1, 4, 16), np.float32),
    "whole numbers": torch.zeros(1, 4, 16, dtype=torch.int32),
}


@pytest.mark.parametrize("guidance", [1.0, 7.5])
@pytest.mark.parametrize("embeds", IMAGE_UNFIT.values(), ids=IMAGE_UNFIT)
def test_image_tokens_that_do_not_fit(
    i2v: ImageToVideoPipeline, embeds: Any, guidance: float
) -> None:
    call = CALL | {"guidance_scale": guidance}
    with pytest.raises(ValueError, match=r"^image_embeds: .*\[B, 4, 16\]"):
        i2v("a cat", image_embeds=embeds, **call)
    fitting = torch.zeros(1, 4, 16)
    with pytest.raises(ValueError, match=r"^negative_image_embeds: .*\[B, 4, 16\]"):
        i2v("a cat", image_embeds=fitting, negative_image_embeds=embeds, **call)


def test_the_wrong_number_of_features_is_told_of_the_argument_that_was_given(
    i2v: ImageToVideoPipeline,
) -> None:
    text, tokens = torch.zeros(3, 77, 16), torch.zeros(3, 4, 16)
    with pytest.raises(ValueError, match=r"^image_embeds: one, or one for each of 1 "):
        i2v("a cat", image_embeds=tokens, **CALL)
    with pytest.raises(ValueError, match=r"^negative_prompt_embeds: one, or one for each of 1 "):
        i2v("a cat", image_embeds=tokens[:1], negative_prompt_embeds=text, **CALL)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_features_may_come_in_any_floating_type(
    i2v: ImageToVideoPipeline, dtype: torch.dtype
) -> None:
    text, tokens = torch.zeros(1, 77, 16, dtype=dtype), torch.zeros(1, 4, 16, dtype=dtype)
    clip = i2v(prompt_embeds=text, image_embeds=tokens, **CALL).frames
    assert clip.shape == (1, 2, 3, 32, 32)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_noise_of_whole_numbers(t2v: TextToVideoPipeline, dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=r"^latents: a float tensor"):
        t2v("a cat", latents=torch.zeros(LATENTS, dtype=dtype), **CALL)
    with pytest.raises(ValueError, match=r"^variance_noise: a tensor .* floating point"):
        t2v("a cat", variance_noise=torch.zeros(2, *LATENTS, dtype=dtype), **CALL)


RETURNED: dict[str, tuple[Any, str]] = {
    "fewer frames": ({"latents": torch.zeros(1, 4, 1, 8, 8)}, r"^latents .*shape"),
    "a larger batch": ({"latents": torch.zeros(2, *LATENTS[1:])}, r"^latents .*shape"),
    "nothing left": ({"latents": torch.zeros(0)}, r"^latents .*shape"),
    "no tensor": ({"latents": [0.0]}, r"^latents .*got list"),
    "no value": ({"latents": None}, r"^latents .*got None"),
    "whole numbers": ({"latents": torch.zeros(LATENTS, dtype=torch.int64)}, r"^latents .*int64"),
    "the tensor itself": (torch.zeros(LATENTS), r"^callback_on_step_end: .*got Tensor"),
    "a pair": (("latents", torch.zeros(LATENTS)), r"^callback_on_step_end: .*got tuple"),
}


@pytest.mark.parametrize(("returned", "message"), RETURNED.values(), ids=RETURNED)
def test_what_a_callback_must_not_return(
    t2v: TextToVideoPipeline, returned: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        t2v("a cat", callback_on_step_end=lambda *_: returned, **CALL)


@pytest.mark.parametrize("returned", [None, {}, {"pred_original_sample": torch.zeros(1)}])
def test_a_callback_may_return_nothing_new(t2v: TextToVideoPipeline, returned: Any) -> None:
    start = torch.ones(LATENTS)
    call = CALL | {"output_type": "latent", "latents": start}
    expected = t2v("a cat", **call).frames
    clip = t2v("a cat", callback_on_step_end=lambda *_: returned, **call).frames
    assert torch.equal(clip, expected)


def test_latents_of_a_callback_are_taken_in_any_floating_type(t2v: TextToVideoPipeline) -> None:
    seen: list[Tensor] = []

    def halve(_: Any, __: int, ___: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        seen.append(tensors["latents"])
        return {"latents": torch.zeros(LATENTS, dtype=torch.float16)}

    clip = t2v("a cat", callback_on_step_end=halve, output_type="latent", **CALL).frames
    assert [tensor.dtype for tensor in [*seen, clip]] == [torch.float32] * 3
    assert not clip.any()
