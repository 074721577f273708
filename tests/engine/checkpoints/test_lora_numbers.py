"""The numbers of a LoRA: what makes no sense is refused, what is said elsewhere is not ignored.

Kinds seen elsewhere: ComfyUI#4577, #10910, nunchaku#245 (LoRAs in float8); diffusers#6087,
ComfyUI#15830, sglang#36082 (alpha not read, so the LoRA counts half or a quarter).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.__main__ import main
from engine.checkpoints import Catalog, ModelCard, ModelLoadError
from engine.checkpoints.folder.lora import LORA_WEIGHTS, LoraSource, read_lora
from engine.checkpoints.loading.load import load_unet
from engine.checkpoints.loading.lora_load import fuse_loras, load_lora
from engine.checkpoints.merge import merge_loras
from engine.models import VideoUNet
from tests.engine.loras import predict, write_lora

Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


@pytest.fixture
def models(tiny_t2v: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    shutil.copytree(tiny_t2v, folder / "tiny")
    return folder


def card(models: Path, name: str) -> ModelCard:
    return Catalog(shipped=models / "nothing", models_dir=models).get(name)


def unet(models: Path) -> VideoUNet:
    return load_unet(models / "tiny" / "unet", torch.float32)


def lora(models: Path, change: Change | None = None, **stated: object) -> Path:
    """A LoRA of rank 2 whose tensors and stated numbers are changed."""
    folder = write_lora(models / "drift", models / "tiny")
    file = folder / LORA_WEIGHTS
    tensors = load_file(file)
    settings = {"r": 2, "lora_alpha": 4} | stated
    save_file(
        change(tensors) if change else tensors,
        file,
        metadata={"lora_adapter_metadata": json.dumps(settings)},
    )
    return folder


def stating(models: Path, metadata: dict[str, str]) -> Path:
    folder = lora(models)
    save_file(load_file(folder / LORA_WEIGHTS), folder / LORA_WEIGHTS, metadata=metadata)
    return folder


def to(kind: torch.dtype) -> Change:
    return lambda held: {name: (tensor * 99).to(kind) for name, tensor in held.items()}


def check_refused(models: Path, folder: Path, word: str = "") -> None:
    """Said in the list, and where it is added; never another error, never quietly taken."""
    target = unet(models)
    with pytest.raises(ModelLoadError, match=word or None):
        fuse_loras(target, [LoraSource(folder)], model="tiny")
    listed = card(models, "drift")
    assert not listed.ready
    assert word in (listed.problem or "")
    assert listed.problem


ALPHAS = [float("nan"), float("inf"), 1e38, -1e38, 10**400, True, "four", [4], 0, -4, "1e999"]


@pytest.mark.parametrize("alpha", ALPHAS, ids=str)
def test_an_alpha_that_makes_no_sense_is_refused(models: Path, alpha: object) -> None:
    check_refused(models, lora(models, lora_alpha=alpha))


@pytest.mark.parametrize("alpha", [float("nan"), 1e38])
def test_nothing_is_merged_that_is_no_number(models: Path, tmp_path: Path, alpha: float) -> None:
    folder = lora(models, lora_alpha=alpha)
    with pytest.raises(ModelLoadError):
        merge_loras(card(models, "tiny"), [LoraSource(folder)], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    arguments = ["merge", "tiny", "--models-dir", str(models), "--lora", str(folder)]
    assert main([*arguments, "--output", str(tmp_path / "merged")]) == 1
    assert not (tmp_path / "merged").exists()


def test_what_only_leaves_the_models_own_format_is_not_merged(models: Path, tmp_path: Path) -> None:
    """Float32 holds the sums, float16 does not."""
    file = models / "tiny" / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file)
    folder = lora(models, lambda held: {n: torch.full_like(t, 200.0) for n, t in held.items()})
    with pytest.raises(ModelLoadError, match="float16"):
        merge_loras(card(models, "tiny"), [LoraSource(folder)], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16])
def test_other_floating_point_formats_are_added(models: Path, kind: torch.dtype) -> None:
    folder = lora(models, lambda held: {name: t.to(kind) for name, t in held.items()})
    changed, exact = unet(models), unet(models)
    fuse_loras(changed, [LoraSource(folder)], model="tiny")
    lora(models, lambda held: {name: t.to(kind).float() for name, t in held.items()})
    fuse_loras(exact, [LoraSource(folder)], model="tiny")
    torch.testing.assert_close(predict(changed), predict(exact), rtol=0.02, atol=0.02)
    assert card(models, "drift").ready


WHOLE = [torch.int8, torch.uint8, torch.int32, torch.int64, torch.bool, torch.complex64]


@pytest.mark.parametrize("kind", WHOLE, ids=str)
def test_whole_numbers_are_no_lora(models: Path, kind: torch.dtype) -> None:
    check_refused(models, lora(models, to(kind)), "floating-point")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
def test_values_that_are_no_numbers_are_found_in_every_format(
    models: Path, kind: torch.dtype
) -> None:
    def spoil(held: dict[str, Tensor]) -> dict[str, Tensor]:
        changed = {name: tensor.to(kind) for name, tensor in held.items()}
        changed[min(changed)].view(-1)[-1] = float("inf")
        return changed

    check_refused(models, lora(models, spoil), "no numbers")


ELSEWHERE: dict[str, dict[str, str]] = {
    "lora_alpha and r": {"lora_alpha": "4", "r": "2"},
    "alpha and rank": {"alpha": "4.0", "rank": "2"},
    "network_alpha": {"network_alpha": "4"},
    "kohya's names": {"ss_network_alpha": "4", "ss_network_dim": "2"},
    "kohya's names, as a decimal": {"ss_network_alpha": "4.0", "ss_network_dim": "2"},
    "the network's name before it": {"unet.lora_alpha": "4", "unet.r": "2"},
    "JSON of its own": {"lora_config": json.dumps({"r": 2, "lora_alpha": 4})},
    "JSON in JSON": {"config": json.dumps({"network": {"args": {"alpha": 4, "rank": 2}}})},
    "diffusers' JSON in parts": {
        "lora_adapter_metadata": json.dumps({"unet": {"r": 2, "lora_alpha": 4}})
    },
    "diffusers' JSON with names before": {
        "lora_adapter_metadata": json.dumps({"unet.r": 2, "unet.lora_alpha": 4})
    },
    "numbers as texts": {"lora_adapter_metadata": json.dumps({"r": "2", "lora_alpha": "4"})},
    "decimals": {"lora_adapter_metadata": json.dumps({"r": 2.0, "lora_alpha": 4.0})},
    "the same twice": {"alpha": "4", "lora_adapter_metadata": json.dumps({"lora_alpha": 4.0})},
    "tags that mean other things": {
        "ss_network_alpha": "4",
        "ss_tag_frequency": json.dumps({"images": {"alpha": 7, "rank": 9}}),
    },
}


@pytest.mark.parametrize("metadata", ELSEWHERE.values(), ids=ELSEWHERE)
def test_an_alpha_that_is_stated_elsewhere_counts(models: Path, metadata: dict[str, str]) -> None:
    folder = stating(models, metadata)
    found = read_lora(folder)
    assert (found.rank, found.alpha) == (2, 4.0)
    assert card(models, "drift").ready


def test_an_alpha_beside_the_file_counts_and_is_another_model(models: Path) -> None:
    folder = stating(models, {"format": "pt"})
    before = card(models, "drift").revision
    (folder / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 4}))
    assert read_lora(folder).alpha == 4
    assert card(models, "drift").revision != before


def test_without_a_word_the_alpha_is_the_rank(models: Path) -> None:
    assert read_lora(stating(models, {"format": "pt", "ss_network_alpha": "None"})).alpha == 2


NOT_UNDERSTOOD: dict[str, dict[str, str]] = {
    "two": {"alpha": "4", "ss_network_alpha": "8"},
    "of another kind": {"conv_alpha": "4"},
    "for each layer": {"lora_adapter_metadata": json.dumps({"alpha_pattern": {"a": 1}})},
    "no number": {"ss_network_alpha": "high"},
    "broken JSON": {"settings": '{"alpha": 4'},
}


@pytest.mark.parametrize("metadata", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
def test_an_alpha_that_is_not_understood_is_refused(models: Path, metadata: dict[str, str]) -> None:
    check_refused(models, stating(models, metadata), "alpha")


def test_an_alpha_for_each_layer_as_a_tensor_is_refused(models: Path) -> None:
    def add(held: dict[str, Tensor]) -> dict[str, Tensor]:
        layer = min(held).partition(".lora_")[0]
        return held | {f"{layer}.alpha": torch.tensor(4.0)}

    check_refused(models, lora(models, add), "alpha")


def test_values_that_overflow_are_refused(models: Path) -> None:
    """Each tensor is finite, their product is not."""
    huge = lora(models, lambda held: {n: torch.full_like(t, 3e30) for n, t in held.items()})
    check_refused(models, huge)


RANKS: list[Any] = [0, -2, 2.5, "two", True, 3, [2]]


@pytest.mark.parametrize("rank", RANKS, ids=str)
def test_a_rank_that_cannot_be_is_refused(models: Path, rank: object) -> None:
    check_refused(models, lora(models, r=rank), "rank")


def test_a_rank_of_nothing_is_refused(models: Path) -> None:
    def empty(held: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: (tensor[:0] if "lora_A" in name else tensor[:, :0]).contiguous()
            for name, tensor in held.items()
        }

    check_refused(models, lora(models, empty, r=None), "rank")


def test_a_layer_that_is_there_twice_is_refused(models: Path) -> None:
    def double(held: dict[str, Tensor]) -> dict[str, Tensor]:
        first = sorted(held)[:2]
        return held | {f"unet.{name}": held[name] * 2 for name in first}

    check_refused(models, lora(models, double), "twice")


def test_adapters_without_effect_can_have_neighbours(models: Path) -> None:
    target = unet(models)
    folder = lora(models)
    load_lora(target, folder, name="nothing", weight=0.0)
    load_lora(target, write_lora(models / "other", models / "tiny", seed=3), name="other")
    assert torch.isfinite(predict(target)).all()


NAMES = ["style.v2", "", "a b", "keys", "training", "weight/1", "x" * 65, "type", "ä"]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_cannot_be_are_refused_as_values(models: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        load_lora(unet(models), lora(models), name=name)


def test_a_companion_of_macos_is_no_second_lora(models: Path) -> None:
    folder = lora(models)
    (folder / LORA_WEIGHTS).rename(folder / "mine.safetensors")
    (folder / "._mine.safetensors").write_bytes(b"\0\5\x16\7")
    assert card(models, "drift").ready
