"""The networks compute the same numbers as the public implementation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.models import ImageProjection, VideoUNet

UNETS = ("unet_t2v_1024", "unet_i2v_512", "unet_t2v_512_v2")


def weights(folder: Path) -> dict[str, Tensor]:
    return {k: v.float() for k, v in load_file(folder / "weights.safetensors").items()}


def config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def run(unet: VideoUNet, cases: dict[str, Tensor], case: str, fps: Tensor | None) -> Tensor:
    tokens = cases[f"{case}.context"]
    image = tokens[:, 77:] if tokens.shape[1] > 77 else None
    with torch.no_grad():
        return unet(
            cases[f"{case}.x"],
            cases[f"{case}.timesteps"],
            tokens[:, :77],
            fps=fps,
            image_hidden_states=image,
        ).sample


@pytest.mark.recorded("{name}/weights.safetensors")
@pytest.mark.parametrize("name", UNETS)
@pytest.mark.parametrize("backend", ["sdpa", "math", "sliced"])
def test_unet_equals_the_reference(golden: Path, name: str, backend: str) -> None:
    folder = golden / name
    settings, cases = config(folder), load_file(folder / "cases.safetensors")
    unet = VideoUNet.from_original(weights(folder), settings["unet_config"])
    unet.use_attention(backend)
    for case in settings["cases"]:
        out = run(unet, cases, case, cases[f"{case}.fps"])
        error = (out - cases[f"{case}.output"]).abs().max().item()
        assert error <= settings["tolerance"]["max_abs"], case


@pytest.mark.recorded("{name}/weights.safetensors")
@pytest.mark.parametrize("name", UNETS)
def test_without_fps_the_reference_assumes_sixteen(golden: Path, name: str) -> None:
    folder = golden / name
    settings, cases = config(folder), load_file(folder / "cases.safetensors")
    unet = VideoUNet.from_original(weights(folder), settings["unet_config"])
    out = run(unet, cases, "base", None)
    error = (out - cases["base.output_fps_omitted"]).abs().max().item()
    assert error <= settings["tolerance"]["max_abs"]


@pytest.mark.parametrize("case", ["base", "short"])
def test_projection_equals_the_reference(golden: Path, case: str) -> None:
    folder = golden / "resampler"
    settings = config(folder)
    cases = load_file(folder / "cases.safetensors")
    projection = ImageProjection.from_original(weights(folder), settings["config"])
    with torch.no_grad():
        out = projection(cases[f"{case}.image_tokens"])
    error = (out - cases[f"{case}.output"]).abs().max().item()
    assert error <= settings["tolerance"]["max_abs"]


def test_every_released_name_is_accounted_for(golden: Path) -> None:
    state = weights(golden / "unet_i2v_512")
    settings = config(golden / "unet_i2v_512")["unet_config"]
    prefix = "model.diffusion_model."
    missing = dict(state)
    del missing[f"{prefix}out.2.bias"]
    with pytest.raises(ValueError, match=r"missing: out\.2\.bias"):
        VideoUNet.from_original(missing, settings)
    extra = state | {f"{prefix}surprise.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"left over: surprise\.weight"):
        VideoUNet.from_original(extra, settings)
    wrong = state | {f"{prefix}time_embed.0.bias": torch.zeros(3)}
    with pytest.raises(ValueError, match=r"shape: time_embed\.0\.bias \[3\]"):
        VideoUNet.from_original(wrong, settings)
    foreign = state | {"first_stage_model.x": torch.zeros(1)}
    VideoUNet.from_original(foreign, settings)


@pytest.mark.parametrize(
    ("option", "value"), [("use_causal_attention", True), ("made_up", 1), ("dims", 3)]
)
def test_options_of_other_networks_are_refused(golden: Path, option: str, value: object) -> None:
    settings = config(golden / "unet_t2v_1024")["unet_config"] | {option: value}
    with pytest.raises(ValueError, match=option):
        VideoUNet.from_original(weights(golden / "unet_t2v_1024"), settings)


@pytest.mark.parametrize(
    ("inventory", "name"),
    [
        ("t2v_1024_v1", "unet_t2v_1024"),
        ("i2v_512_v1", "unet_i2v_512"),
        ("t2v_512_v2", "unet_t2v_512_v2"),
    ],
)
def test_full_size_unet_has_the_released_tensors(golden: Path, inventory: str, name: str) -> None:
    from engine.models.original_names import (
        UNET_PREFIX,
        unet_config_from_original,
        unet_original_names,
    )

    switches = config(golden / name)["unet_config"]
    full_size = switches | {
        "model_channels": 320,
        "channel_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "attention_resolutions": [4, 2, 1],
        "num_head_channels": 64,
        "context_dim": 1024,
        "temporal_length": 16,
    }
    with torch.device("meta"):
        unet = VideoUNet(**unet_config_from_original(full_size))
    sizes = {name: tensor.numel() for name, tensor in unet.state_dict().items()}
    ours = {original: sizes[name] for name, original in unet_original_names(unet).items()}
    state = json.loads((golden / "keys" / f"{inventory}.json").read_text())["state_dict"]
    released = {
        key.removeprefix(UNET_PREFIX): int(torch.Size(shape).numel())
        for key, shape in state.items()
        if key.startswith(UNET_PREFIX)
    }
    assert ours == released
