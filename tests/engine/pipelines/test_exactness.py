"""Laws that hold to the number, over sizes, batches and settings.

Sums are taken in another order when a batch is larger or attention is cut differently, so equality
here means a few units of rounding, carried through the steps; what is computed alike is compared
bit by bit.
"""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.models import VideoUNet
from engine.pipelines import (
    ImageToVideoPipeline,
    TextToVideoPipeline,
    VideoPipeline,
    decode_latents,
    encode_frames,
    encode_text,
    tokenise,
)
from engine.pipelines.images import clip_pixels, unconditional_pixels
from engine.schedulers import SCHEDULER_NAMES, make_scheduler
from tests.engine.pipelines.parts import make_components, randomise

PROMPTS = ["a cat", "2 dogs & a ball; running", "", "fog"]
NEGATIVES = ["", "dog", "bad cat", "x"]
RATES = [8, 24, 1, 60]

few = settings(max_examples=6, deadline=None)


@pytest.fixture(scope="module")
def t2v() -> TextToVideoPipeline:
    return quiet(TextToVideoPipeline(**make_components(image=False), text_layer="penultimate"))


@pytest.fixture(scope="module")
def i2v() -> ImageToVideoPipeline:
    return quiet(ImageToVideoPipeline(**make_components(image=True), text_layer="penultimate"))


def quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures(batch: int, height: int, width: int) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(3))


def seeds(*values: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(value) for value in values]


def error(one: Tensor, two: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    assert one.shape == two.shape
    return float((one - two).abs().max() / two.abs().max())


@torch.no_grad()
def published_sampler(
    pipe: VideoPipeline,
    start: Tensor,
    unit_noise: Tensor,
    *,
    steps: int,
    eta: float,
    guidance: float,
    rescale_to: float | None,
    fps: list[int],
    image: Tensor | None,
) -> Tensor:
    """The published procedure, written down from its description and from nothing of the engine.

    Two forwards a step, one for the prompt and one for the negative prompt, and nothing remembered.
    """
    batch = len(start)
    roots = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64)
    alphas = (1 - roots**2).cumprod(0)
    scale = torch.ones(1000, dtype=torch.float64)
    if rescale_to is not None:
        scale[:400] = torch.linspace(1, rescale_to, 400, dtype=torch.float64)
        scale[400:] = rescale_to

    def text(prompts: list[str]) -> Tensor:
        return encode_text(pipe.text_encoder, tokenise(pipe.tokenizer, prompts), "penultimate")

    def picture(pixels: Tensor) -> Tensor:
        assert isinstance(pipe, ImageToVideoPipeline)
        return pipe.image_projection(pipe.image_encoder(pixels).last_hidden_state)

    conditions = [(text(PROMPTS[:batch]), None), (text(NEGATIVES[:batch]), None)]
    if image is not None:
        grey = picture(unconditional_pixels(28)).expand(batch, -1, -1)
        shown = picture(clip_pixels(image, 28))
        conditions = [(conditions[0][0], shown), (conditions[1][0], grey)]

    x = start
    timesteps = [t + 1 for t in range(0, 1000, 1000 // steps)]
    for count, index in enumerate(reversed(range(len(timesteps)))):
        t, before = timesteps[index], timesteps[index - 1] if index else 0
        said = [
            pipe.unet(
                x,
                torch.full((batch,), t),
                words,
                fps=torch.tensor(fps),
                image_hidden_states=tokens,
            ).sample
            for words, tokens in conditions
        ]
        eps = said[1] + guidance * (said[0] - said[1])
        a, a_before = alphas[t], alphas[before]
        sigma = eta * ((1 - a_before) / (1 - a) * (1 - a / a_before)).sqrt()
        clean = (x - (1 - a).sqrt() * eps) / (a.sqrt() * scale[t])
        x = a_before.sqrt() * scale[before] * clean + (1 - a_before - sigma**2).sqrt() * eps
        x = (x + sigma * unit_noise[count]).float()
    return x


@pytest.mark.parametrize("kind", ["t2v", "i2v"])
@few
@given(
    steps=st.sampled_from([1, 2, 4, 6, 7]),
    eta=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    guidance=st.sampled_from([0.0, 1.0, 1.5, 7.5, 12.0]),
    rescale_to=st.sampled_from([None, 0.3, 0.7]),
    batch=st.integers(1, 3),
    frames=st.sampled_from([1, 2, 5, 20]),
    sides=st.sampled_from([(16, 16), (16, 24), (32, 16)]),
    seed=st.integers(0, 99),
)
def test_a_call_is_the_published_procedure(
    request: pytest.FixtureRequest,
    kind: str,
    steps: int,
    eta: float,
    guidance: float,
    rescale_to: float | None,
    batch: int,
    frames: int,
    sides: tuple[int, int],
    seed: int,
) -> None:
    """One batch for both conditions and remembered keys and values change nothing."""
    pipe: VideoPipeline = request.getfixturevalue(kind)
    pipe.scheduler = make_scheduler("ddim-original", rescale_to)
    height, width = sides
    shape = (batch, 4, frames, height // 4, width // 4)
    start = noise(seed, *shape)
    unit = noise(seed + 1, len(range(0, 1000, 1000 // steps)), *shape)
    image = pictures(batch, height, width) if kind == "i2v" else None
    ours = pipe(
        PROMPTS[:batch],
        image,
        NEGATIVES[:batch],
        num_inference_steps=steps,
        guidance_scale=guidance,
        eta=eta,
        fps=RATES[:batch],
        latents=start,
        variance_noise=unit,
        output_type="latent",
    ).frames
    theirs = published_sampler(
        pipe,
        start,
        unit,
        steps=steps,
        eta=eta,
        guidance=guidance,
        rescale_to=rescale_to,
        fps=RATES[:batch],
        image=image,
    )
    assert error(ours, theirs) < 1e-4


@pytest.mark.parametrize(
    ("kind", "sampler"), [*(("t2v", name) for name in SCHEDULER_NAMES), ("i2v", "dpm++2m")]
)
@settings(max_examples=2, deadline=None)
@given(
    order=st.permutations(range(4)).flatmap(
        lambda order: st.integers(1, 4).map(lambda count: order[:count])
    ),
    frames=st.integers(1, 5),
)
def test_a_seed_means_one_clip_whatever_its_company(
    request: pytest.FixtureRequest, kind: str, sampler: str, order: list[int], frames: int
) -> None:
    pipe: VideoPipeline = request.getfixturevalue(kind)
    pipe.scheduler = make_scheduler(sampler, 0.7)
    shown = pictures(4, 16, 24) if kind == "i2v" else None

    def run(*clips: int) -> Tensor:
        latents: Tensor = pipe(
            [PROMPTS[clip] for clip in clips],
            None if shown is None else shown[list(clips)],
            [NEGATIVES[clip] for clip in clips],
            fps=[RATES[clip] for clip in clips],
            height=16,
            width=24,
            num_frames=frames,
            num_inference_steps=2,
            guidance_scale=3.0,
            eta=pipe.scheduler.default_eta,
            generator=seeds(*(100 + clip for clip in clips)),
            output_type="latent",
        ).frames
        return latents

    together = run(*order)
    for index, clip in enumerate(order):
        assert error(together[index : index + 1], run(clip)) < 1e-4


@few
@given(
    batch=st.integers(1, 3),
    frames=st.integers(1, 9),
    sides=st.sampled_from([(4, 4), (4, 6), (8, 2)]),
    relative=st.booleans(),
)
def test_attention_backends_agree_through_the_whole_network(
    batch: int, frames: int, sides: tuple[int, int], relative: bool
) -> None:
    unet = make_components(image=True)["unet"]
    if not relative:
        unet = randomise(VideoUNet.from_config({**unet.config, "relative_position": False}), 3)
    given_ = {
        "sample": noise(0, batch, 4, frames, *sides),
        "timestep": torch.tensor([10, 500, 999][:batch]),
        "encoder_hidden_states": noise(1, batch, 77, 16),
        "image_hidden_states": noise(2, batch, 4, 16),
    }
    with torch.no_grad():
        expected = unet(**given_).sample
        for backend in ("math", "sliced"):
            unet.use_attention(backend)
            assert error(unet(**given_).sample, expected) < 1e-4


@few
@given(
    batch=st.integers(1, 3),
    frames=st.integers(1, 5),
    chunk=st.integers(1, 16),
    sides=st.sampled_from([(4, 4), (4, 6), (6, 2)]),
)
def test_slices_of_frames_are_decoded_and_encoded_as_the_whole(
    t2v: TextToVideoPipeline, batch: int, frames: int, chunk: int, sides: tuple[int, int]
) -> None:
    latents = noise(4, batch, 4, frames, *sides)
    whole = decode_latents(t2v.vae, latents, chunk_size=batch * frames)
    assert error(decode_latents(t2v.vae, latents, chunk), whole) < 1e-4
    clean = encode_frames(t2v.vae, whole, sample=False, chunk_size=batch * frames)
    assert error(encode_frames(t2v.vae, whole, sample=False, chunk_size=chunk), clean) < 1e-4


@pytest.mark.parametrize("kind", ["t2v", "i2v"])
def test_a_clip_of_one_frame_is_a_picture(request: pytest.FixtureRequest, kind: str) -> None:
    """With the temporal layers off, the first frame of a clip is the clip of that frame alone."""
    pipe: VideoPipeline = request.getfixturevalue(kind)
    start = noise(5, 2, 4, 3, 4, 6)
    tokens = noise(6, 2, 4, 16) if kind == "i2v" else None

    def forward(sample: Tensor) -> Tensor:
        prediction: Tensor = pipe.unet(
            sample,
            torch.tensor([400, 900]),
            noise(7, 2, 77, 16),
            image_hidden_states=tokens,
            skip_temporal=True,
        ).sample
        return prediction

    with torch.no_grad():
        assert error(forward(start)[:, :, :1], forward(start[:, :, :1])) < 1e-5


def test_the_same_call_gives_the_same_bits(i2v: ImageToVideoPipeline) -> None:
    i2v.scheduler = make_scheduler("dpm++sde", 0.7)
    call: dict[str, Any] = {
        "image": pictures(1, 16, 24)[0],
        "height": 16,
        "width": 24,
        "num_frames": 3,
        "num_inference_steps": 3,
        "guidance_scale": 5.0,
        "fps": 8,
    }
    first = i2v("a cat", generator=seeds(1), **call).frames
    i2v("a dog", generator=seeds(2), **call | {"num_frames": 5, "guidance_scale": 1.0})
    assert torch.equal(first, i2v("a cat", generator=seeds(1), **call).frames)
