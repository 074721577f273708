"""Original checkpoints compute what the public implementation computes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.checkpoints import load_original
from engine.checkpoints.original.autoencoder import autoencoder
from engine.checkpoints.original.clip import text_tower, vision_tower
from engine.checkpoints.original.config import (
    FirstStage,
    TextConditioner,
    TextTowerConfig,
    VisionTowerConfig,
)
from engine.pipelines import (
    ImageToVideoPipeline,
    TextToVideoPipeline,
    clip_pixels,
    denormalise_latents,
    encode_text,
    normalise_latents,
    tokenise,
)
from engine.pipelines.images import to_pixels, unconditional_pixels
from tests.engine.checkpoints.original.recorded import Recorded, filled


def error(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max().item()


def settings_of(folder: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return settings


@pytest.mark.parametrize("layer", ["penultimate", "last"])
def test_text_tower(golden: Path, layer: Any) -> None:
    folder = golden / "clip_text"
    settings, cases = settings_of(folder), load_file(folder / "cases.safetensors")
    config = TextConditioner(
        text_cfg=TextTowerConfig(**settings["config"]), embed_dim=settings["embed_dim"]
    )
    model: Any = filled(text_tower(config), folder)
    features = encode_text(model, cases["token_ids"], layer)
    assert error(features, cases[layer]) <= settings["tolerance"]["max_abs"]


@pytest.mark.parametrize("case", ["wide", "panorama", "zero_image"])
def test_vision_tower_with_its_preprocessing(golden: Path, case: str) -> None:
    folder = golden / "clip_image"
    settings, cases = settings_of(folder), load_file(folder / "cases.safetensors")
    leftover = TextTowerConfig(vocab_size=64, width=16)
    component = vision_tower(
        VisionTowerConfig(**settings["config"]), settings["embed_dim"], leftover
    )
    model: Any = filled(component, folder)
    if case == "zero_image":
        pixels = unconditional_pixels(224)
    else:
        pixels = clip_pixels(to_pixels(cases[f"{case}.image_uint8"]), 224)
    tolerance = settings["tolerance"]["max_abs"]
    crop = pixels[..., 80:120, 100:140]
    assert error(crop, cases[f"{case}.preprocessed_crop"]) <= tolerance
    tokens = model(pixels).last_hidden_state
    assert error(tokens, cases[f"{case}.tokens"]) <= tolerance


@pytest.mark.recorded("vae/weights.safetensors")
def test_autoencoder(golden: Path) -> None:
    folder = golden / "vae"
    settings, cases = settings_of(folder), load_file(folder / "cases.safetensors")
    tolerance = settings["tolerance"]["max_abs"]
    component = autoencoder(FirstStage(**settings["config"]), settings["scale_factor"])
    vae: Any = filled(component, folder)

    posterior = vae.encode(cases["frames"].transpose(1, 2).flatten(0, 1)).latent_dist
    assert error(posterior.parameters, cases["moments"]) <= tolerance
    noise = cases["posterior_noise"].transpose(1, 2).flatten(0, 1)
    drawn = normalise_latents(vae, posterior.mean + posterior.std * noise)
    expected = cases["encode_first_stage_2DAE"].transpose(1, 2).flatten(0, 1)
    assert error(drawn, expected) <= tolerance

    latents = cases["latents"].transpose(1, 2).flatten(0, 1)
    decoded = vae.decode(denormalise_latents(vae, latents)).sample
    expected = cases["decode_first_stage_2DAE"].transpose(1, 2).flatten(0, 1)
    assert error(decoded, expected) <= tolerance
    assert error(vae.decode(cases["raw_z"]).sample, cases["raw_decode"]) <= tolerance


@pytest.mark.recorded("e2e_i2v/model.ckpt", either="i2v")
def test_conditions_of_the_whole_checkpoint(either: Recorded) -> None:
    pipe: Any = load_original(either.checkpoint, either.config)
    cases, tolerance = either.tensors, either.settings["tolerance"]["embeddings_max_abs"]
    for prompts, name in ((either.settings["prompts"], ""), (["", ""], "uncond_")):
        ids = tokenise(pipe.tokenizer, prompts)
        assert torch.equal(ids, cases[f"{name}token_ids"])
        features = encode_text(pipe.text_encoder, ids, pipe.config["text_layer"])
        assert error(features, cases[f"{name}text_emb"]) <= tolerance
    if "image_uint8" in cases:
        tokens = pipe.image_encoder(clip_pixels(to_pixels(cases["image_uint8"]), 224))[0]
        assert error(tokens, cases["image_tokens"]) <= tolerance
        assert error(pipe.image_projection(tokens), cases["image_emb"]) <= tolerance
        grey = pipe.image_encoder(unconditional_pixels(224))[0]
        expected = cases["uncond_image_emb"][:1]
        assert error(pipe.image_projection(grey), expected) <= tolerance


@pytest.mark.recorded("e2e_i2v/model.ckpt", either="i2v")
@pytest.mark.parametrize("run", ["run0", "run1"])
def test_from_the_checkpoint_to_frames(either: Recorded, run: str) -> None:
    pipe = load_original(either.checkpoint, either.config)
    kind = ImageToVideoPipeline if "image_uint8" in either.tensors else TextToVideoPipeline
    assert type(pipe) is kind
    tolerance = either.settings["tolerance"]

    latents = pipe(**either.arguments(run), output_type="latent").frames
    expected = either.tensors[f"{run}.latents"]
    relative = error(latents, expected) / expected.abs().max().item()
    assert relative <= tolerance["latents_rel_to_max"]

    frames = pipe(**either.arguments(run)).frames  # [B, F, 3, H, W] in [0, 1]
    if f"{run}.frames" in either.tensors:
        exact = either.tensors[f"{run}.frames"].clamp(-1, 1).transpose(1, 2)
        assert error(frames * 2 - 1, exact) <= tolerance["frames_max_abs"]
    stored = (frames * 255).to(torch.uint8).permute(0, 1, 3, 4, 2)
    difference = stored.int() - either.tensors[f"{run}.frames_uint8"].int()
    assert difference.abs().max() <= tolerance["frames_uint8_max"]


def test_a_loaded_pipeline_is_ready_to_infer_and_owns_its_weights(
    i2v: Recorded, tmp_path: Path
) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(i2v.checkpoint.read_bytes())
    pipe: Any = load_original(path, i2v.config)
    before = pipe.unet.conv_in.weight.clone()
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(pipe.unet.conv_in.weight, before)
    for part in (pipe.unet, pipe.vae, pipe.text_encoder, pipe.image_encoder, pipe.image_projection):
        assert not part.training
        assert not any(parameter.requires_grad for parameter in part.parameters())
        assert {tensor.device.type for tensor in (*part.parameters(), *part.buffers())} == {"cpu"}


def test_number_format(t2v: Recorded) -> None:
    pipe: Any = load_original(t2v.checkpoint, t2v.config, dtype=torch.bfloat16)
    assert {part.dtype for part in (pipe.unet, pipe.vae, pipe.text_encoder)} == {torch.bfloat16}
