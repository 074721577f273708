"""Between frames and latents."""

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DecoderOutput

from engine.pipelines import (
    decode_latents,
    denormalise_latents,
    encode_frames,
    normalise_latents,
)
from tests.engine.pipelines.parts import make_components


@pytest.fixture
def vae() -> AutoencoderKL:
    result: AutoencoderKL = make_components(image=False)["vae"]
    return result


STATISTICS: list[dict[str, Any]] = [
    {},
    {"latents_mean": [1.0, 2.0, 3.0, 4.0], "latents_std": [0.5, 1.0, 2.0, 4.0]},
    {"shift_factor": 0.3, "scaling_factor": 1.5},
]


@pytest.mark.parametrize("statistics", STATISTICS)
def test_normalising_is_undone(vae: AutoencoderKL, statistics: dict[str, Any]) -> None:
    vae.register_to_config(**statistics)
    z = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(denormalise_latents(vae, normalise_latents(vae, z)), z)


def test_each_statistic_acts_on_its_channel(vae: AutoencoderKL) -> None:
    vae.register_to_config(**STATISTICS[1], scaling_factor=0.5)
    latents = normalise_latents(vae, torch.full((1, 4, 1, 1), 5.0))
    assert latents.flatten().tolist() == [4.0, 1.5, 0.5, 0.125]
    vae.register_to_config(latents_mean=None, latents_std=None, shift_factor=1.0)
    assert normalise_latents(vae, torch.full((1, 4, 1, 1), 5.0)).flatten().tolist() == [2.0] * 4


def test_frames_are_decoded_one_by_one_whatever_the_slices(vae: AutoencoderKL) -> None:
    latents = torch.randn(2, 4, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    frames = decode_latents(vae, latents, chunk_size=6)
    assert frames.shape == (2, 3, 3, 16, 24)
    for chunk_size in (1, 4):
        torch.testing.assert_close(decode_latents(vae, latents, chunk_size), frames)
    alone = vae.decode(latents[1, :, 2][None] / 0.2).sample[0]
    torch.testing.assert_close(frames[1, 2], (alone / 2 + 0.5).clamp(0, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("latent", "sizes"),
    [((128, 128), [1, 1, 1]), ((96, 160), [1, 1, 1]), ((64, 64), [3]), ((64, 128), [2, 1])],
)
def test_large_frames_are_decoded_one_at_a_time_and_small_ones_together(
    vae: AutoencoderKL, latent: tuple[int, int], sizes: list[int]
) -> None:
    """The autoencoder here has 4 x 4 pixels for each latent one, so 128 x 128 is 512 x 512."""
    decoded: list[int] = []

    def decode(z: torch.Tensor) -> DecoderOutput:
        decoded.append(len(z))
        return DecoderOutput(sample=torch.zeros(len(z), 3, 4, 4))

    vae.decode = decode  # type: ignore[method-assign,assignment]
    decode_latents(vae, torch.zeros(1, 4, 3, *latent))
    assert decoded == sizes


def test_encoding_gives_the_posterior_of_each_frame(vae: AutoencoderKL) -> None:
    frames = torch.rand(2, 3, 3, 16, 24, generator=torch.Generator().manual_seed(2))
    mean = encode_frames(vae, frames, sample=False, chunk_size=2)
    assert mean.shape == (2, 4, 3, 4, 6)
    posterior = vae.encode(frames[1, 2][None] * 2 - 1).latent_dist
    torch.testing.assert_close(mean[1, :, 2], posterior.mean[0] * 0.2, rtol=1e-4, atol=1e-5)

    def drawn(*seeds: int) -> torch.Tensor:
        return encode_frames(vae, frames, [torch.Generator().manual_seed(seed) for seed in seeds])

    both = drawn(7, 8)
    assert torch.equal(both[1], drawn(9, 8)[1])
    assert not torch.equal(both[1], mean[1])
    spread = (both - mean)[1, :, 2] / (posterior.std[0] * 0.2)
    assert 0.6 < float(spread.std()) < 1.4
