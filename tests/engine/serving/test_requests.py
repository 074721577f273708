"""Requests are completed from the model's card, or refused by field."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.checkpoints import Catalog, ModelCard
from engine.serving import GenerationRequest, RequestError, ResolvedSettings
from engine.serving.request import resolve

CARD = ModelCard(
    name="words",
    title="From words",
    task="text-to-video",
    path=Path("words"),
    width=64,
    height=48,
    sizes=((64, 48), (128, 96)),
    num_frames=16,
    fps_choices=(8, 12, 24),
    default_fps=8,
    default_steps=16,
    max_steps=50,
    default_guidance=4.0,
    max_guidance=12.0,
    ready=True,
)
PICTURE_CARD = ModelCard(
    name="pictures",
    title="From a picture",
    task="image-to-video",
    path=Path("pictures"),
    width=64,
    height=32,
    sizes=((64, 32),),
    num_frames=16,
    fps_choices=(8,),
    default_fps=8,
    default_steps=16,
    max_steps=50,
    default_guidance=4.0,
    max_guidance=12.0,
    ready=True,
)


class Cards(Catalog):
    """A catalogue of given cards, for the ranges that no shipped model has."""

    def cards(self) -> tuple[ModelCard, ...]:
        return (
            CARD,
            PICTURE_CARD,
            ModelCard(
                name="broken",
                title="broken",
                task="text-to-video",
                path=Path("b"),
                problem="Broken.",
            ),
        )


def request(**changes: Any) -> GenerationRequest:
    given: dict[str, Any] = {"job_id": "job-1", "model": "words", "prompt": "a cat", "seed": 7}
    return GenerationRequest(**(given | changes))


def resolved(**changes: Any) -> ResolvedSettings:
    return resolve(request(**changes), Cards())


def png(width: int = 40, height: int = 40) -> bytes:
    picture = Image.new("RGB", (width, height), "red")
    picture.paste("lime", (0, height // 4, width, height - height // 4))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def test_what_is_left_out_takes_the_models_default() -> None:
    settings = resolved()
    assert settings.model is CARD
    params = settings.params
    assert (params.fps, params.steps, params.guidance) == (8, 16, 4.0)
    assert (params.width, params.height, params.num_frames) == (
        64,
        48,
        16,
    )
    assert params.negative_prompt is None
    assert params.image is None


def test_what_is_given_is_kept() -> None:
    settings = resolved(
        prompt="  a cat ",
        negative_prompt=" blur ",
        seed=2**32 - 1,
        fps=24,
        steps=50,
        guidance=12,
        width=128,
        height=96,
        num_frames=1,
    )
    assert (settings.params.prompt, settings.params.negative_prompt) == ("a cat", "blur")
    assert (settings.params.seed, settings.params.fps, settings.params.steps) == (2**32 - 1, 24, 50)
    assert (settings.params.guidance, settings.params.num_frames) == (12.0, 1)
    assert (settings.params.width, settings.params.height) == (128, 96)


@pytest.mark.parametrize("blank", ["", "  ", "\n"])
def test_a_blank_negative_prompt_is_none(blank: str) -> None:
    assert resolved(negative_prompt=blank).params.negative_prompt is None


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"job_id": ""}, "job_id", "1 to 64 letters"),
        ({"job_id": "../up"}, "job_id", "1 to 64 letters"),
        ({"job_id": "a\n"}, "job_id", "1 to 64 letters"),
        ({"job_id": "a" * 65}, "job_id", "1 to 64 letters"),
        ({"model": "word"}, "model", "Did you mean words.*Known models: words, pictures, broken"),
        ({"prompt": ""}, "prompt", "empty"),
        ({"prompt": " \n\t"}, "prompt", "empty"),
        ({"prompt": "x" * 4001}, "prompt", "4001 characters; at most 4000"),
        ({"negative_prompt": "x" * 4001}, "negative_prompt", "4001 characters; at most 4000"),
        ({"seed": -1}, "seed", "from 0 to 4294967295, not -1"),
        ({"seed": 2**32}, "seed", "from 0 to 4294967295"),
        ({"seed": 1.5}, "seed", "whole number"),
        ({"seed": True}, "seed", "whole number"),
        ({"weight": 0.0}, "weight", "above 0, not 0.0"),
        ({"weight": -1.0}, "weight", "above 0"),
        ({"weight": math.nan}, "weight", "above 0, not nan"),
        ({"weight": math.inf}, "weight", "above 0"),
        ({"fps": 9}, "fps", "one of 8, 12, 24 for words, not 9"),
        ({"fps": 0}, "fps", "one of 8, 12, 24"),
        ({"steps": 0}, "steps", "from 1 to 50 for words, not 0"),
        ({"steps": 51}, "steps", "from 1 to 50"),
        ({"guidance": 0.99}, "guidance", "from 1 to 12 for words"),
        ({"guidance": 12.5}, "guidance", "from 1 to 12"),
        ({"guidance": math.nan}, "guidance", "from 1 to 12"),
        ({"guidance": math.inf}, "guidance", "from 1 to 12"),
        ({"width": 63}, "size", "64x48, 128x96 for words, not 63x48"),
        ({"width": 48, "height": 64}, "size", "64x48, 128x96"),
        ({"num_frames": 0}, "num_frames", "from 1 to 16"),
        ({"num_frames": 17}, "num_frames", "from 1 to 16"),
        ({"image": b"x"}, "image", "words alone"),
        ({"model": "pictures"}, "image", "starts from a picture"),
        ({"model": "pictures", "image": b""}, "image", "empty"),
        ({"model": "pictures", "image": b"no picture"}, "image", "not a picture"),
    ],
)
def test_wrong_values_are_refused_by_field(changes: dict[str, Any], field: str, text: str) -> None:
    with pytest.raises(RequestError, match=text) as caught:
        resolved(**changes)
    assert caught.value.field == field
    assert "\n" not in caught.value.message


def test_the_picture_is_cropped_to_the_models_aspect() -> None:
    picture = resolved(model="pictures", image=png()).params.image
    assert picture is not None
    assert picture.size == (64, 32)
    pixels = np.asarray(picture).astype(int)
    # The upper and lower quarter, red, are what a 2:1 crop of a square leaves out.
    assert (pixels[2:-2, :, 1] > pixels[2:-2, :, 0]).all()


def test_a_large_picture_is_refused_by_the_engines_limit() -> None:
    with pytest.raises(RequestError, match=r"At most 0\.0015 megapixels"):
        resolve(request(model="pictures", image=png()), Cards(), max_image_pixels=1500)


def test_a_broken_model_refuses_nothing_but_the_impossible() -> None:
    assert resolved(model="broken", fps=9, steps=1000).model.problem == "Broken."
    with pytest.raises(RequestError, match="empty"):
        resolved(model="broken", prompt=" ")
