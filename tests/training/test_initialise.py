"""A video UNet that starts from an image model is that image model on every frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from engine.checkpoints.original.presets import PRESETS
from engine.models import VideoUNet
from engine.models.original_names import unet_config_from_original
from training.recipe.model import RecipeError
from training.stages.initialise import (
    image_names,
    initialise_from_image_model,
    read_image_unet,
    reinitialized,
)
from training.stages.text_to_video import split_temporal

TEXT = 24


def image_unet(**changes: Any) -> UNet2DConditionModel:
    """The structure of Stable Diffusion 2.1 at a tenth of the width, with random weights."""
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "sample_size": 16,
        "block_out_channels": (32, 64, 128, 128),
        "layers_per_block": 2,
        "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
        "attention_head_dim": (2, 4, 8, 8),  # numbers of heads, in spite of the name
        "cross_attention_dim": TEXT,
        "use_linear_projection": True,
    }
    unet = UNet2DConditionModel(**(config | changes))
    unet.eval()
    return unet


def video_unet(**changes: Any) -> VideoUNet:
    torch.manual_seed(1)
    config: dict[str, Any] = {
        "model_channels": 32,
        "channel_mult": (1, 2, 4, 4),
        "num_head_channels": 16,
        "context_dim": TEXT,
        "temporal_length": 4,
    }
    unet = VideoUNet(**(config | changes))
    unet.eval()
    return unet


def saved(folder: Path, unet: UNet2DConditionModel, **options: Any) -> str:
    unet.save_pretrained(folder / "unet", **options)
    return str(folder)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("image-model"), image_unet())


def predictions(unet: VideoUNet, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the image model and of the video model, on the same clip of three frames."""
    generator = torch.Generator().manual_seed(2)
    clip = torch.randn(2, 4, 3, 16, 24, generator=generator)
    text = torch.randn(2, 77, TEXT, generator=generator)
    timestep = torch.tensor([7, 800])
    image = image_unet()
    with torch.no_grad():
        frames = [image(frame, timestep, text).sample for frame in clip.unbind(2)]
        ours = unet(clip, timestep, text, **options).sample
    return torch.stack(frames, dim=2), ours


@pytest.mark.parametrize("skip_temporal", [True, False])
@pytest.mark.parametrize(
    "variant",
    [{}, {"relative_position": False, "temporal_convolution": True}],
    ids=["as T2V-1024", "as VideoCrafter2"],
)
def test_every_frame_is_what_the_image_model_makes(
    source: str, variant: dict[str, Any], skip_temporal: bool
) -> None:
    unet = video_unet(**variant)
    initialise_from_image_model(unet, read_image_unet(source))
    for fps in (torch.tensor([0.0, 0.0]), torch.tensor([8.0, 24.0])):
        theirs, ours = predictions(unet, fps=fps, skip_temporal=skip_temporal)
        assert theirs.abs().max() > 0.1
        assert (theirs - ours).abs().max() <= 1e-5


def test_what_is_silent_at_first_can_learn(source: str) -> None:
    unet = video_unet(temporal_convolution=True).train()
    initialise_from_image_model(unet, read_image_unet(source))
    clip = torch.randn(1, 4, 3, 8, 8)
    out = unet(clip, torch.tensor([5]), torch.randn(1, 77, TEXT), fps=torch.tensor([8.0])).sample
    out.square().mean().backward()
    temporal, _ = split_temporal(unet)
    assert unet.fps_embedding is not None
    assert unet.fps_embedding.linear_2.weight.grad is not None
    assert unet.fps_embedding.linear_2.weight.grad.any()
    last = [n for n, _ in unet.named_parameters() if n.endswith(".temporal.proj_out.weight")]
    last += [n for n, _ in unet.named_parameters() if n.endswith("temporal.convs.3.weight")]
    gradients = {n: p.grad for n, p in unet.named_parameters() if n in last}
    assert len(gradients) > 20
    assert all(g is not None and g.any() for g in gradients.values())
    assert all(p.grad is not None for p in temporal)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_published_sizes_take_every_tensor_of_stable_diffusion(preset: str) -> None:
    with torch.device("meta"):
        image = UNet2DConditionModel(
            sample_size=64,
            attention_head_dim=(5, 10, 20, 20),
            cross_attention_dim=1024,
            use_linear_projection=True,
        )
        unet = VideoUNet(**unet_config_from_original(PRESETS[preset].config.unet_config))
    names, own, theirs = image_names(unet), unet.state_dict(), image.state_dict()
    assert set(names.values()) == set(theirs)
    assert {n for n in own if not reinitialized(n)} == set(names)
    assert all(own[ours].shape == theirs[name].shape for ours, name in names.items())
    assert sum(own[name].numel() for name in names) == 865_910_724


def test_linear_layers_may_be_stored_as_convolutions(tmp_path: Path) -> None:
    image = image_unet(use_linear_projection=False)
    unet = video_unet()
    initialise_from_image_model(unet, read_image_unet(saved(tmp_path, image)))
    mine = unet.state_dict()["mid_in.spatial.proj_in.weight"]
    assert torch.equal(mine, image.state_dict()["mid_block.attentions.0.proj_in.weight"][..., 0, 0])


def test_shards_are_read_like_one_file(source: str, tmp_path: Path) -> None:
    sharded = saved(tmp_path, image_unet(), max_shard_size="2MB")
    assert len(list((tmp_path / "unet").glob("*.safetensors"))) > 1
    whole, parts = read_image_unet(source).tensors, read_image_unet(sharded).tensors
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_tensors_that_do_not_fit_are_named(source: str, tmp_path: Path) -> None:
    unet = image_unet()
    folder = Path(saved(tmp_path, unet)) / "unet"
    file = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    del tensors["conv_in.bias"]
    tensors["extra.weight"] = torch.zeros(1)
    tensors["conv_out.bias"] = torch.zeros(8)
    save_file(tensors, file)
    with pytest.raises(RecipeError) as caught:
        initialise_from_image_model(video_unet(), read_image_unet(str(tmp_path)))
    text = str(caught.value)
    assert "missing: conv_in.bias" in text
    assert "not used: extra.weight" in text
    assert "of another shape: conv_out.bias [8] for [4]" in text


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("flip_sin_to_cos", False, "flip_sin_to_cos is False, only True is known"),
        ("freq_shift", 1, "freq_shift is 1"),
        ("attention_head_dim", 8, "8 heads of 32 channels, heads of 16 wanted"),
        ("_class_name", "UNet3DConditionModel", "not UNet2DConditionModel"),
    ],
)
def test_options_that_tensors_do_not_show_are_checked(
    tmp_path: Path, option: str, value: object, words: str
) -> None:
    folder = Path(saved(tmp_path, image_unet())) / "unet"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {option: value}))
    with pytest.raises(RecipeError, match=words):
        initialise_from_image_model(video_unet(), read_image_unet(str(tmp_path)))


def test_a_source_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match=r"config.json does not exist"):
        read_image_unet(str(tmp_path / "none"))
    folder = tmp_path / "unet"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(RecipeError, match="no safetensors weights"):
        read_image_unet(str(tmp_path))
    (folder / "config.json").write_text("[")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_image_unet(str(tmp_path))
    with pytest.raises(RecipeError, match="not of the form hub:OWNER/NAME"):
        read_image_unet("hub:just-a-name")


def test_the_hub_is_read_through_its_cache(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--owner--name"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "unet").symlink_to(Path(source) / "unet")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    found = read_image_unet("hub:owner/name")
    assert found.tensors.keys() == read_image_unet(source).tensors.keys()
    with pytest.raises(RecipeError, match="hub:owner/another cannot be fetched"):
        read_image_unet("hub:owner/another")
