"""Laws that hold for the UNet whatever its weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from engine.models import VideoUNet
from engine.models.attention import RelativePositions, attention
from engine.models.layers import conv_frames
from engine.models.transformers import FeedForward

TINY = {
    "model_channels": 32,
    "channel_mult": (1, 2),
    "num_res_blocks": 1,
    "attention_resolutions": (1, 2),
    "num_head_channels": 8,
    "context_dim": 16,
    "temporal_length": 4,
}


def tiny_unet(**switches: bool) -> VideoUNet:
    """A UNet whose weights are all random: the zeros it starts with would hide every error."""
    torch.manual_seed(0)
    unet = VideoUNet(**TINY, **switches).eval()
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.normal_(std=0.15)
    return unet


def inputs(batch: int = 2, frames: int = 3, size: tuple[int, int] = (4, 6)) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "sample": torch.randn(batch, 4, frames, *size, generator=generator),
        "timestep": torch.randint(0, 1000, (batch,), generator=generator),
        "encoder_hidden_states": torch.randn(batch, 77, 16, generator=generator),
        "fps": torch.randint(4, 30, (batch,), generator=generator),
    }


@torch.no_grad()
def test_a_batch_is_its_samples_one_by_one() -> None:
    unet = tiny_unet(image_cross_attention=True, temporal_convolution=True)
    given_ = inputs(batch=3) | {"image_hidden_states": torch.randn(3, 5, 16)}
    together = unet(**given_).sample
    alone = [unet(**{k: v[i : i + 1] for k, v in given_.items()}).sample for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_context_computed_once_gives_the_same_prediction() -> None:
    unet = tiny_unet(image_cross_attention=True)
    given_ = inputs()
    image = torch.randn(2, 5, 16)
    context = unet.precompute_context(given_["encoder_hidden_states"], image)
    direct = unet(**given_, image_hidden_states=image).sample
    cached = unet(given_["sample"], given_["timestep"], context=context, fps=given_["fps"]).sample
    torch.testing.assert_close(cached, direct, rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("temporal_convolution", [False, True])
def test_without_temporal_layers_a_clip_is_its_pictures(temporal_convolution: bool) -> None:
    unet = tiny_unet(temporal_convolution=temporal_convolution)
    given_ = inputs(batch=1, frames=3)
    clip = unet(**given_, skip_temporal=True).sample
    frames = [
        unet(**(given_ | {"sample": given_["sample"][:, :, i : i + 1]}), skip_temporal=True).sample
        for i in range(3)
    ]
    torch.testing.assert_close(clip, torch.cat(frames, dim=2), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(clip, unet(**given_).sample, atol=1e-3)


def test_a_picture_step_leaves_temporal_gradients_absent() -> None:
    unet = tiny_unet(temporal_convolution=True)
    unet(**inputs(frames=1), skip_temporal=True).sample.sum().backward()
    named = dict(unet.named_parameters())
    temporal = {n for n in named if ".temporal." in f".{n}" or n.startswith("initial_temporal.")}
    assert temporal
    assert all(named[name].grad is None for name in temporal)
    spatial = set(named) - temporal
    assert all(named[name].grad is not None for name in spatial)


@torch.no_grad()
def test_frames_are_told_apart_by_relative_positions_alone() -> None:
    given_ = inputs(batch=1, frames=4)
    still = given_["sample"][:, :, :1].expand(-1, -1, 4, -1, -1)
    with_positions = tiny_unet(relative_position=True)(**(given_ | {"sample": still})).sample
    without = tiny_unet(relative_position=False)(**(given_ | {"sample": still})).sample
    assert (without - without[:, :, :1]).abs().max() < 1e-4
    assert (with_positions - with_positions[:, :, :1]).abs().max() > 1e-3


@torch.no_grad()
def test_fps_and_picture_change_the_prediction() -> None:
    unet = tiny_unet(image_cross_attention=True)
    given_ = inputs()
    image = torch.randn(2, 5, 16)
    base = unet(**given_, image_hidden_states=image).sample
    faster = unet(**(given_ | {"fps": given_["fps"] + 8}), image_hidden_states=image).sample
    assert not torch.allclose(base, faster, atol=1e-4)
    assert not torch.allclose(base, unet(**given_).sample, atol=1e-4)


def test_saved_and_loaded_it_predicts_the_same(tmp_path: Path) -> None:
    unet = tiny_unet(temporal_convolution=True)
    unet.save_pretrained(tmp_path)
    again = VideoUNet.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(**inputs()).sample, unet(**inputs()).sample)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sample": torch.zeros(2, 3, 3, 4, 6)}, r"sample must be \[B, 4, F, H, W\]"),
        ({"sample": torch.zeros(2, 4, 3, 5, 6)}, "divisible by 2"),
        ({"encoder_hidden_states": None}, "encoder_hidden_states or context"),
        ({"image_hidden_states": torch.zeros(2, 5, 16)}, "no image cross-attention"),
    ],
)
def test_inputs_that_do_not_fit_are_named(change: dict[str, Tensor | None], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tiny_unet()(**(inputs() | change))


@pytest.mark.parametrize(
    ("field", "value"),
    [("model_channels", 48), ("channel_mult", (2, 4)), ("num_head_channels", 24)],
)
def test_a_configuration_that_cannot_be_built_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        VideoUNet(**(TINY | {field: value}))


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="sdpa, math, sliced"):
        tiny_unet().use_attention("flash")  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None)
@given(
    queries=st.integers(1, 9),
    keys=st.integers(1, 9),
    heads=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_attention_backends_agree(queries: int, keys: int, heads: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(2, heads, n, 8, generator=generator) for n in (queries, keys, keys))
    results = [attention(q, k, v, backend=b) for b in ("sdpa", "math", "sliced")]
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-4, atol=1e-5)


def test_slices_of_queries_agree_with_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = torch.randn(3, 2, 4, 50, 8).unbind()
    whole = attention(q, k, v, backend="math")
    monkeypatch.setattr("engine.models.attention._SLICE_SCORES", 2 * 4 * 50 * 7)
    torch.testing.assert_close(attention(q, k, v, backend="sliced"), whole)


def test_relative_attention_is_the_formula() -> None:
    q, k, v = torch.randn(3, 2, 4, 5, 8).unbind()
    relative = RelativePositions(torch.randn(5, 5, 8), torch.randn(5, 5, 8))
    out = attention(q, k, v, relative=relative)
    for query in range(5):
        keys = k + relative.key[query]  # [..., K, d]
        scores = (keys * q[..., query : query + 1, :]).sum(-1) * 8**-0.5
        expected = (scores.softmax(-1)[..., None] * (v + relative.value[query])).sum(-2)
        torch.testing.assert_close(out[..., query, :], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temporal_convolution", [False, True])
def test_gradient_checkpointing_changes_no_gradient(temporal_convolution: bool) -> None:
    gradients = []
    for checkpointing in (False, True):
        unet = tiny_unet(image_cross_attention=True, temporal_convolution=temporal_convolution)
        unet.train()  # with dropout, which the second forward must repeat
        if checkpointing:
            unet.enable_gradient_checkpointing()
        image = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(2))
        torch.manual_seed(3)
        unet(**inputs(), image_hidden_states=image).sample.square().mean().backward()
        gradients.append([p.grad for p in unet.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        assert plain is not None
        torch.testing.assert_close(recomputed, plain)


@settings(max_examples=20, deadline=None)
@given(
    count=st.integers(1, 4),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_a_convolution_of_few_positions_is_the_same_as_a_product(
    count: int, height: int, width: int, seed: int
) -> None:
    torch.manual_seed(seed)
    conv = nn.Conv2d(3, 5, 3, padding=1)
    x = torch.randn(count, 2, height, width, 3)
    expected = conv(x.flatten(0, 1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(conv_frames(conv, x).flatten(0, 1), expected, rtol=1e-4, atol=1e-5)


def test_a_convolution_of_many_positions_keeps_stride_and_size() -> None:
    x = torch.randn(1, 3, 16, 24, 4)
    for conv, size in (
        (nn.Conv2d(4, 6, 3, padding=1), (16, 24)),
        (nn.Conv2d(4, 6, 3, stride=2, padding=1), (8, 12)),
    ):
        expected = conv(x[0].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out = conv_frames(conv, x)
        assert out.shape == (1, 3, *size, 6)
        torch.testing.assert_close(out[0], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_feed_forward_in_parts_is_the_whole() -> None:
    feed_forward = FeedForward(8)
    x = torch.randn(2, 2500, 8)  # more tokens than go through at once
    value, gate = feed_forward.proj_in(x).chunk(2, dim=-1)
    expected = feed_forward.proj_out(value * F.gelu(gate))
    torch.testing.assert_close(feed_forward(x), expected)


def test_weights_lie_as_features_do(tmp_path: Path) -> None:
    unet = tiny_unet()
    weight = unet.mid_out.conv_1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    unet.save_pretrained(tmp_path)
    again = VideoUNet.from_pretrained(tmp_path).mid_out.conv_1.weight
    assert torch.equal(again, weight)
