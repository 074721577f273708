"""The mixed noise of clips."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.schedulers import clip_noise, unit_noise

SHAPE = (2, 4, 3, 48, 64)


def draw(shared: float, *, seed: int = 0, batch: int = 2) -> Tensor:
    generators = [torch.Generator().manual_seed(seed + i) for i in range(batch)]
    return clip_noise((batch, *SHAPE[1:]), generators, "cpu", shared=shared)


def test_without_a_shared_part_it_is_plain_noise_of_the_same_seed() -> None:
    plain = unit_noise(SHAPE, torch.Generator().manual_seed(3), "cpu")
    mixed = clip_noise(SHAPE, torch.Generator().manual_seed(3), "cpu", shared=0.0)
    assert torch.equal(plain, mixed)


@pytest.mark.parametrize("shared", [0.25, 0.75, 1.0])
def test_frames_have_unit_variance_and_the_share_in_common(shared: float) -> None:
    noise = draw(shared)
    assert noise.shape == SHAPE
    assert noise.var().item() == pytest.approx(1, abs=0.06)
    first, second = noise[:, :, 0].flatten(), noise[:, :, 1].flatten()
    correlation = torch.corrcoef(torch.stack([first, second]))[0, 1].item()
    assert correlation == pytest.approx(shared, abs=0.04)
    clips = torch.corrcoef(noise.flatten(1))[0, 1].item()
    assert clips == pytest.approx(0, abs=0.06)


def test_a_seed_gives_the_same_noise_whatever_the_batch() -> None:
    together = draw(0.75)
    alone = torch.cat([draw(0.75, seed=i, batch=1) for i in range(2)])
    assert torch.equal(together, alone)
