"""All stages of the demo model in the small, through the command line, up to a playable clip."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import load_file

from engine.checkpoints import Catalog, load_pipeline
from training.cli import main
from training.data.clips import load_clips, scene_of
from training.recipe.model import load_recipe
from training.stages import make_task
from training.stages.batches import VideoBatch
from training.stages.vae import normalise_latents, random_pictures

RECIPE = """
name = "{name}"
[stage]
kind = "{kind}"
{stage}
[optimisation]
steps = 2
batch_size = 2
learning_rate = 1e-3
warmup = 1
[bookkeeping]
log_every = 2
evaluate_every = 2
save_every = 2
"""
SMALL_VAE = "block_channels = [16, 16, 16, 16]"
SMALL_TOWERS = "width = 32\ntext_layers = 2\nvision_layers = 1\nheads = 2\nembed_dim = 8"
SMALL_UNET = "model_channels = 32\nnum_head_channels = 8"
SHORT = "clips = 4\nprobe_clips = 2\nframes = 4\nstride = 2"


class Workshop:
    """A folder with recipes and runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, kind: str, stage: str) -> Path:
        path = self.folder / f"{name}.toml"
        path.write_text(RECIPE.format(name=name, kind=kind, stage=stage))
        return path

    def train(self, name: str, kind: str, stage: str) -> Path:
        recipe = self.write(name, kind, stage)
        assert main(["run", str(recipe), "--output", str(self.folder / name)]) == 0
        return self.folder / name / "model"

    def export(self, name: str) -> Path:
        output = self.folder / "models" / name
        arguments = [str(self.folder / f"{name}.toml"), "--run", str(self.folder / name)]
        assert main(["export", *arguments, "--output", str(output)]) == 0
        return output


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """All stages trained for two steps each."""
    shop = Workshop(tmp_path_factory.mktemp("workshop"))
    vae = shop.train("vae", "vae", SMALL_VAE)
    towers = shop.train("towers", "contrastive", SMALL_TOWERS)
    shop.train("text", "caption-facts", f'towers = "{towers}"\nstart = "{towers}"')
    parts = f'vae = "{vae}"\ntowers = "{towers}"\n{SHORT}\n'
    pictures = "image_share = 1.0\nimage_batch = 2\n"
    images = shop.train("images", "text-to-video", parts + pictures + SMALL_UNET)
    video = shop.train("video", "text-to-video", f'{parts}start = "{images}"')
    mapping = shop.train(
        "mapping",
        "image-to-video",
        f'{parts}start = "{video}"\ntrains = "mapping"\nprojection_dim = 32\nprojection_depth = 1',
    )
    shop.train("animate", "image-to-video", f'{parts}start = "{mapping}"\ntrains = "video"')
    return shop


def tensors(shop: Workshop, run: str, part: str = "unet") -> dict[str, torch.Tensor]:
    return load_file(shop.folder / run / "model" / part / "diffusion_pytorch_model.safetensors")


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_joint_training_moves_temporal_layers_only_with_clips(workshop: Workshop) -> None:
    moved = changed(tensors(workshop, "images"), tensors(workshop, "video"))
    assert any(".temporal." in name for name in moved)
    first = tensors(workshop, "images")
    silent = [n for n in first if n.endswith(".temporal.proj_out.weight")]
    assert silent
    assert all(not first[name].any() for name in silent)  # as they began: pictures skipped them


def test_the_mapping_stage_leaves_the_video_model_as_it_was(workshop: Workshop) -> None:
    video, mapping = tensors(workshop, "video"), tensors(workshop, "mapping")
    assert changed(video, mapping) == set()
    new = set(mapping) - set(video)
    assert new
    assert all("_image." in name for name in new)


def test_the_video_stage_leaves_both_mappings_as_they_were(workshop: Workshop) -> None:
    moved = changed(tensors(workshop, "mapping"), tensors(workshop, "animate"))
    assert moved
    frozen = ("to_k_image", "to_v_image", "attn_2.to_k.", "attn_2.to_v.")
    in_cross_attention = {n for n in moved if ".spatial." in n and any(f in n for f in frozen)}
    assert in_cross_attention == set()
    part = "image_projection"
    assert not changed(tensors(workshop, "mapping", part), tensors(workshop, "animate", part))


@pytest.mark.parametrize("name", ["video", "animate"])
def test_an_exported_run_is_a_model_that_makes_clips(workshop: Workshop, name: str) -> None:
    folder = workshop.export(name)
    card = Catalog({name: folder}).get(name)
    assert card.problem is None
    picture = torch.rand(3, 64, 64) if card.wants_image else None
    pipeline = load_pipeline(card)
    frames = pipeline(
        "a red circle moving to the left",
        image=picture,
        height=card.height,
        width=card.width,
        num_frames=4,
        num_inference_steps=2,
        guidance_scale=2.0,
        fps=card.default_fps,
        generator=torch.Generator().manual_seed(0),
    ).frames
    assert frames.shape == (1, 4, 3, 64, 64)
    assert torch.isfinite(frames).all()


@pytest.mark.parametrize("name", ["vae", "towers", "text", "images", "video", "mapping", "animate"])
def test_what_is_planned_has_the_shapes_of_what_is_trained(workshop: Workshop, name: str) -> None:
    with closing(make_task(load_recipe(str(workshop.folder / f"{name}.toml")))) as task:
        drawn = task.draw(np.random.default_rng(0), 0)
        kind = task.step_kinds()[-1]
        assert kind.samples == 2
        assert shapes(task.example_batch(kind.name, 2)) == shapes(drawn)


def shapes(value: object) -> object:
    """The shapes of a batch's tensors; a frozen tower's features may come along or not."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype
    if isinstance(value, VideoBatch):
        assert value.frame_pixels is not None
        first = value.frame_pixels([0] * len(value))
        return shapes([value.latents, value.fps, first]), len(value.captions), value.pictures
    items = value.values() if isinstance(value, dict) else value
    assert isinstance(items, Iterable)
    return [shapes(item) for item in items]


def test_export_keeps_the_model_card_and_replaces_the_rest(workshop: Workshop) -> None:
    folder = workshop.export("video")
    (folder / "README.md").write_text("my words")
    (folder / "stale.txt").write_text("old")
    workshop.export("video")
    assert (folder / "README.md").read_text() == "my words"
    assert not (folder / "stale.txt").exists()


def test_export_of_a_run_that_is_not_there(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(workshop.folder / "video.toml")
    arguments = ["export", recipe, "--run", str(tmp_path), "--output", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["export", str(workshop.folder / "vae.toml"), "--output", str(tmp_path)]) == 2
    assert "trains no video model" in capsys.readouterr().err


def test_latents_are_read_again_and_never_by_another_autoencoder(
    workshop: Workshop, tmp_path: Path
) -> None:
    vae = AutoencoderKL.from_pretrained(workshop.folder / "vae" / "model").eval()
    first = load_clips(vae, tmp_path, seed=1, count=2)
    files = set(tmp_path.iterdir())
    assert torch.equal(load_clips(vae, tmp_path, seed=1, count=2).latents, first.latents)
    assert set(tmp_path.iterdir()) == files
    with torch.no_grad():
        next(vae.parameters()).add_(1)
    load_clips(vae, tmp_path, seed=1, count=2)
    assert len(set(tmp_path.iterdir())) == len(files) + 1


def test_a_clip_is_a_function_of_seed_and_number() -> None:
    assert scene_of(1, 5, 0.7) == scene_of(1, 5, 0.7)
    assert scene_of(1, 5, 0.7) != scene_of(1, 6, 0.7)


def test_normalised_latents_decode_to_the_same_pictures(workshop: Workshop) -> None:
    vae = AutoencoderKL.from_pretrained(workshop.folder / "vae" / "model").eval()
    pictures = random_pictures(np.random.default_rng(0), 8)
    with torch.no_grad():
        before = vae.encode(pictures).latent_dist
        decoded = vae.decode(before.mode()).sample
        mean, std = before.mode().mean((0, 2, 3)) + 1, before.mode().std((0, 2, 3)) * 3
        normalise_latents(vae, mean, std)
        after = vae.encode(pictures).latent_dist
        again = vae.decode(after.mode()).sample
    expected = (before.mode() - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(after.mode(), expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(after.std, before.std / std[:, None, None], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(again, decoded, rtol=1e-3, atol=1e-3)
