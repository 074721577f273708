"""Precomputed latents: what they are, going on after a stop, and refusing those of other models."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from transformers import CLIPTextModel

from engine.pipelines.latents import encode_frames
from engine.pipelines.text import encode_text, tokenise
from tests.engine.pipelines.parts import make_components
from tests.training.data.sets import counted_frames, jpeg, picture_shard
from training.data.command import add_data_parser, run_data
from training.data.config import DataSetConfig, ResolutionConfig, WindowConfig
from training.data.digest import model_digest
from training.data.errors import DataError, NoSamplesError
from training.data.images import read_picture
from training.data.latents import LatentBatch, LatentClip, LatentSet, collate_latents
from training.data.loader import BatchLoader
from training.data.manifest import Manifest, read_manifest
from training.data.order import DeterministicSampler
from training.data.precompute import PrecomputeConfig, TextFeatureEncoder, precompute
from training.data.sources import open_source

CONFIG = PrecomputeConfig(
    resolution=ResolutionConfig(width=64, height=64, buckets=False),
    window=WindowConfig(frames=2, max_stride=2),
    variants=2,
    shard_samples=4,
)


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    return make_components(image=False)


def encode(
    parts: dict[str, Any],
    path: Path,
    output: Path,
    config: PrecomputeConfig = CONFIG,
    **others: Any,
) -> Manifest:
    text = TextFeatureEncoder("tiny", parts["text_encoder"], parts["tokenizer"], "penultimate")
    return precompute(
        open_source(DataSetConfig(path=path)),
        config,
        output,
        source_path="my clips",
        **({"vae": parts["vae"], "vae_name": "tiny vae", "text": text} | others),
    )


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def other_vae() -> AutoencoderKL:
    vae: AutoencoderKL = make_components(image=False)["vae"]
    with torch.no_grad():
        next(vae.parameters()).add_(1e-3)
    return vae


def test_latents_are_those_of_the_pictures(tmp_path: Path, parts: dict[str, Any]) -> None:
    shard = picture_shard(tmp_path / "a.tar", range(3))
    config = CONFIG.model_copy(
        update={
            "window": None,
            "variants": 1,
            "resolution": ResolutionConfig(width=64, height=64, multiple=16),
        }
    )
    manifest = encode(parts, shard, tmp_path / "out", config)
    assert manifest.complete
    made = LatentSet(tmp_path / "out", verify=True)
    assert made.groups == (3,)
    rng = DeterministicSampler([3], seed=0).generator(0)
    clips = [made.load(index, made.bucket(index), rng) for index in range(3)]
    assert [str(made.bucket(index)) for index in range(3)] == ["96x48", "64x64", "96x48"]
    assert [clip.caption for clip in clips] == ["picture 0", "picture 1", "picture 2"]
    assert [clip.fps for clip in clips] == [0, 0, 0]

    pixels = torch.from_numpy(read_picture(jpeg(64, 64, level=1))).permute(2, 0, 1) / 255
    expected = encode_frames(parts["vae"], pixels[None, None], sample=False)[0]
    assert clips[1].latents.shape == (4, 1, 16, 16)
    torch.testing.assert_close(clips[1].latents.float(), expected, atol=2e-3, rtol=2e-3)

    ids = tokenise(parts["tokenizer"], ["picture 1", ""])
    features = encode_text(parts["text_encoder"], ids, "penultimate")
    assert clips[1].text is not None
    torch.testing.assert_close(clips[1].text.float(), features[0], atol=2e-3, rtol=2e-3)
    empty = made.empty_text()
    assert empty is not None
    torch.testing.assert_close(empty, features[1], atol=2e-3, rtol=2e-3)


def test_clips_have_variants_and_broken_ones_are_counted(
    tmp_path: Path, folder_set: Path, parts: dict[str, Any]
) -> None:
    manifest = encode(parts, folder_set, tmp_path / "out")
    assert [(shard.first, shard.end) for shard in manifest.shards] == [(0, 4), (4, 8), (8, 10)]
    assert sum(shard.samples for shard in manifest.shards) == 6 * 2
    # Three broken clips and one without a caption, each in two variants.
    skipped = [shard.skipped for shard in manifest.shards]
    assert sum(sum(reasons.values()) for reasons in skipped) == 8
    made = LatentSet(tmp_path / "out")
    reader = BatchLoader[LatentClip, LatentBatch](
        made, DeterministicSampler(made.groups, seed=0), collate_latents, batch_size=12
    )
    with reader:
        batch = reader.batch(0)
    assert batch.latents.shape == (12, 4, 2, 16, 16)
    assert batch.latents.dtype == torch.float32
    assert batch.text is not None
    assert batch.text.shape == (12, 77, 16)
    assert set(batch.keys) == {f"good-{number}.mp4" for number in range(6)}
    assert set(batch.fps.tolist()) <= {24.0, 12.0}


def test_a_stopped_run_goes_on_and_makes_the_same(
    tmp_path: Path, folder_set: Path, parts: dict[str, Any]
) -> None:
    encode(parts, folder_set, tmp_path / "whole")

    class StoppedError(Exception):
        pass

    def stop(manifest: Manifest) -> None:
        if len(manifest.shards) == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        encode(parts, folder_set, tmp_path / "stopped", report=stop)
    with pytest.raises(DataError, match="is not complete; run the same"):
        LatentSet(tmp_path / "stopped")
    made: list[int] = []
    encode(
        parts, folder_set, tmp_path / "stopped", report=lambda m: made.append(m.shards[-1].first)
    )
    assert made == [8]
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")

    encode(parts, folder_set, tmp_path / "stopped", report=lambda _: pytest.fail("nothing to do"))
    (tmp_path / "stopped" / "latents-000000004.safetensors").unlink()
    encode(parts, folder_set, tmp_path / "stopped")
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


def test_going_on_with_anything_else_is_refused_and_changes_nothing(
    tmp_path: Path, folder_set: Path, parts: dict[str, Any]
) -> None:
    output = tmp_path / "out"
    encode(parts, folder_set, output)
    before = files(output)
    with pytest.raises(DataError, match=r"autoencoder tiny vae \(digest .*another folder"):
        encode(parts, folder_set, output, vae=other_vae())
    with pytest.raises(DataError, match=r"seed = 0, but 7 is needed"):
        encode(parts, folder_set, output, CONFIG.model_copy(update={"seed": 7}))
    with pytest.raises(DataError, match="text features"):
        encode(parts, folder_set, output, text=None)
    tower = TextFeatureEncoder("tiny", parts["text_encoder"], parts["tokenizer"], "last")
    with pytest.raises(DataError, match="penultimate text layer"):
        encode(parts, folder_set, output, text=tower)
    (folder_set / "new.mp4").write_bytes(b"")
    with pytest.raises(DataError, match="10 samples"):
        encode(parts, folder_set, output)
    assert files(output) == before


def test_a_folder_with_something_else_is_not_touched(
    tmp_path: Path, folder_set: Path, parts: dict[str, Any]
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match="is not empty"):
        encode(parts, folder_set, output)
    assert files(output) == {"thesis.txt": b"precious"}


def test_reading_latents_of_other_models_is_refused(
    tmp_path: Path, folder_set: Path, parts: dict[str, Any]
) -> None:
    output = tmp_path / "out"
    encode(parts, folder_set, output, text=None)
    vae = parts["vae"]
    LatentSet(output, vae=model_digest(vae, vae.config), preprocessing={"variants": 2})
    another = other_vae()
    with pytest.raises(DataError, match="autoencoder tiny vae"):
        LatentSet(output, vae=model_digest(another, another.config))
    with pytest.raises(DataError, match="no text tower"):
        LatentSet(output, text="0" * 64)
    with pytest.raises(DataError, match="variants = 2, but 3 is needed"):
        LatentSet(output, preprocessing={"variants": 3})
    assert LatentSet(output).empty_text() is None


def test_damaged_folders_are_refused(
    tmp_path: Path, folder_set: Path, parts: dict[str, Any]
) -> None:
    output = tmp_path / "out"
    with pytest.raises(DataError, match=r"manifest\.json is missing"):
        LatentSet(output)
    encode(parts, folder_set, output)
    shard = output / "latents-000000004.safetensors"
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(DataError, match="checksum"):
        LatentSet(output, verify=True)
    made = LatentSet(output)
    with BatchLoader[LatentClip, LatentBatch](
        made, DeterministicSampler(made.groups, seed=0), collate_latents, batch_size=4, workers=0
    ) as loader:
        loader.batch(0)
        assert set(loader.skipped) == {"broken shard"}

    manifest = output / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"complete"', '"finished"'))
    with pytest.raises(DataError, match="damaged or of another version"):
        read_manifest(output)


def test_a_set_of_which_nothing_can_be_used_is_an_error(
    tmp_path: Path, parts: dict[str, Any]
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.mp4").write_bytes(b"broken")
    (tmp_path / "set" / "a.txt").write_text("text")
    with pytest.raises(NoSamplesError, match="my clips: no sample can be used"):
        encode(parts, tmp_path / "set", tmp_path / "out")


def test_the_digest_is_of_weights_and_configuration(parts: dict[str, Any]) -> None:
    vae = parts["vae"]
    digest = model_digest(vae, vae.config)
    assert digest == model_digest(make_components(image=False)["vae"], {**vae.config, "_x": 1})
    assert digest != model_digest(vae, {**vae.config, "scaling_factor": 9.0})
    assert digest != model_digest(other_vae(), vae.config)
    assert digest != model_digest(other_vae().bfloat16(), vae.config)


def test_the_command_line(
    tmp_path: Path,
    folder_set: Path,
    parts: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = tmp_path / "model"
    vae, text = parts["vae"], parts["text_encoder"]
    assert isinstance(text, CLIPTextModel)
    vae.save_pretrained(model / "vae")
    text.save_pretrained(model / "text_encoder")
    parts["tokenizer"].save_pretrained(model / "tokenizer")
    parser = argparse.ArgumentParser()
    add_data_parser(parser.add_subparsers(dest="command", required=True))

    def run(*arguments: object) -> int:
        output = tmp_path / "out"
        base = ["data", "precompute", folder_set, "--output", output, "--size", "64x64"]
        return run_data(parser.parse_args([str(a) for a in (*base, *arguments)]))

    options = ["--frames", 2, "--vae", model / "vae", "--text", model, "--no-buckets"]
    assert run(*options) == 0
    assert "6 samples, 4 left out" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["vae"] == {"name": str(model / "vae"), "digest": model_digest(vae, vae.config)}
    assert manifest["complete"]

    for extra, code, words in (
        (["--seed", 3], 1, "seed = 0, but 3 is needed"),
        (["--vae", tmp_path / "nowhere"], 2, "nowhere does not exist"),
        (["--frames", 0], 2, "frames"),
        (["--device", "warp"], 2, "--device"),
    ):
        assert run(*options, *extra) == code
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("training: ")
        assert words in error


def test_frames_of_the_test_clip_lie_apart() -> None:
    assert counted_frames(3)[:, 0, 0, 0].tolist() == [0, 4, 8]
