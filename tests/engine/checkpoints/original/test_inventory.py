"""What released files hold: names, shapes, and the noise schedule."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from engine.checkpoints import OriginalCheckpointError, OriginalConfigError, expected_tensors
from engine.checkpoints.original.plan import make_plan
from engine.checkpoints.original.presets import PRESETS, parse_config
from engine.checkpoints.original.schedule import check_schedule, schedule_buffers
from tests.engine.checkpoints.original.recorded import Recorded


@pytest.mark.parametrize(
    ("preset", "inventory"),
    [("t2v-1024", "t2v_1024_v1"), ("i2v-512", "i2v_512_v1"), ("t2v-512-v2", "t2v_512_v2")],
)
def test_presets_expect_exactly_the_released_tensors(
    golden: Path, preset: str, inventory: str
) -> None:
    recorded = json.loads((golden / "keys" / f"{inventory}.json").read_text())
    released = {name: tuple(shape) for name, shape in recorded["state_dict"].items()}
    assert expected_tensors(preset) == released


def test_the_first_small_model_lacks_what_the_large_one_added() -> None:
    """There is no inventory of this file, but its configuration differs in two switches only."""
    large, small = expected_tensors("t2v-1024"), expected_tensors("t2v-512")
    added = {name for name in large if ".fps_embedding." in name} | {"scale_arr"}
    assert len(added) == 5
    assert small == {name: shape for name, shape in large.items() if name not in added}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_tensor_of_a_network_has_one_source(preset: str) -> None:
    for component in make_plan(PRESETS[preset].config).components.values():
        targets = [target for rule in component.rules for target in rule.targets]
        assert sorted(targets) == sorted(component.module.state_dict())
        assert all(tensor.is_meta for tensor in component.module.state_dict().values())


def test_a_mapping_is_as_good_as_a_preset(either: Recorded) -> None:
    state = {name: tuple(tensor.shape) for name, tensor in either.state().items()}
    assert expected_tensors(either.config) == state


@pytest.mark.parametrize("linear", [True, False])
def test_projections_of_transformers_may_be_released_as_convolutions(
    i2v: Recorded, linear: bool
) -> None:
    unet = i2v.config["unet_config"] | {"use_linear": linear}
    shapes = expected_tensors(i2v.config | {"unet_config": unet})
    block = "model.diffusion_model.input_blocks.1"
    extra = () if linear else (1,)
    assert shapes[f"{block}.1.proj_in.weight"] == (32, 32, *extra, *extra)
    assert shapes[f"{block}.2.proj_out.weight"] == (32, 32, *extra)
    assert shapes["model.diffusion_model.init_attn.0.proj_in.weight"] == (64, 32, 1)


SCHEDULES = {
    "no_scale": {"use_scale": False},
    "scale_b0.3_fixed": {"use_scale": True, "scale_b": 0.3, "fix_scale_bug": True},
    "scale_b0.7_unfixed": {"use_scale": True, "scale_b": 0.7},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_buffers(golden: Path, t2v: Recorded, name: str) -> None:
    config = parse_config(t2v.config | {"rescale": SCHEDULES[name]})
    stored = load_file(golden / "ddim" / f"schedule_{name}.safetensors")
    released = {
        key.removeprefix("model."): tensor
        for key, tensor in stored.items()
        if key.startswith("model.")
    }
    ours = schedule_buffers(config)
    for key, values in ours.items():
        if key in released:
            torch.testing.assert_close(values.float(), released[key], rtol=2e-5, atol=1e-6)
    assert ("scale_arr" in ours) == ("scale_arr" in released)
    assert len(released.keys() & ours.keys()) >= 9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_schedule_is_known_in_every_number_format(i2v: Recorded, dtype: torch.dtype) -> None:
    config = parse_config(i2v.config)
    check_schedule("file", {k: v.to(dtype) for k, v in i2v.state().items()}, config)


@pytest.mark.parametrize(
    ("change", "buffers"),
    [
        ({"linear_end": 0.0125}, "betas"),
        ({"rescale": {"use_scale": True, "scale_b": 0.65}}, "scale_arr"),
    ],
)
def test_another_schedule_is_refused(i2v: Recorded, change: dict[str, Any], buffers: str) -> None:
    config = parse_config(i2v.config | change)
    with pytest.raises(OriginalCheckpointError, match=f"schedule in file .*differ: {buffers}"):
        check_schedule("file", i2v.state(), config)


def with_value(config: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy of nested mappings with one value changed."""
    key, _, rest = path.partition(".")
    return {**config, key: with_value(config[key], rest, value) if rest else value}


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("made_up", 1, "config.made_up: Extra inputs"),
        ("unet_config.made_up", 1, "unet_config.made_up"),
        ("unet_config.context_dim", 16, "context_dim is 16, but .*text_cfg.width is 8"),
        ("unet_config.in_channels", 5, "in_channels is 5, but first_stage_config.embed_dim is 4"),
        ("unet_config.use_image_attention", False, "use_image_attention, and only to such"),
        ("image_encoder", None, "image_encoder and image_projection belong"),
        ("image_projection.output_dim", 4, "output_dim must equal text_cfg.width"),
        ("image_projection.embedding_dim", 4, "embedding_dim must equal image_encoder.width"),
        ("first_stage_config.ddconfig.ch", 48, r"first_stage_config\.ddconfig\.ch: .*multiple"),
        ("first_stage_config.ddconfig.attn_resolutions", [16], "attn_resolutions"),
        ("first_stage_config.embed_dim", 3, "embed_dim 3 must equal ddconfig.z_channels"),
        ("cond_stage_config.layer", "first", r"cond_stage_config\.layer"),
        ("cond_stage_config.text_cfg.vocab_size", 500, "vocab_size must be at least 49408"),
        ("cond_stage_config.text_cfg.context_length", 76, "context_length must be 77"),
        ("cond_stage_config.text_cfg.heads", 3, "heads 3 must divide width 8"),
        ("image_encoder.head_width", 5, "head_width 5 must divide width 32"),
        ("rescale.scale_a", 0.9, r"rescale\.scale_a"),
        ("uncond_type", "zero_embed", "uncond_type"),
    ],
)
def test_configurations_that_cannot_be_are_refused(
    i2v: Recorded, path: str, value: object, text: str
) -> None:
    with pytest.raises(OriginalConfigError, match=text) as caught:
        expected_tensors(with_value(i2v.config, path, value))
    assert isinstance(caught.value, ValueError)


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(OriginalConfigError, match="'t2v-2048'; there are t2v-1024, t2v-512, i2v"):
        expected_tensors("t2v-2048")
