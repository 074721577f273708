"""Which models a worker keeps, and when it loads one again."""

import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.checkpoints import Catalog, ModelLoadError
from engine.serving.backends.options import low_memory_options
from engine.serving.execution.broken_models import TRY_AGAIN_AFTER_S
from engine.serving.execution.model_memory import (
    device_memory,
    model_budget,
    weight_bytes,
)
from engine.serving.execution.pipeline_cache import PipelineCache
from engine.settings import ModelOptions
from tests.engine.serving.workbench import pipeline_of


def plainly(name: str) -> ModelOptions:
    return ModelOptions()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def catalog(tiny_t2v: Path) -> Catalog:
    return Catalog(dict.fromkeys("abc", tiny_t2v))


@pytest.fixture(scope="module")
def size_gb(tiny_t2v: Path) -> float:
    return weight_bytes(Catalog({"a": tiny_t2v}).get("a"), torch.float32) / 1e9


def names(models: PipelineCache) -> list[str]:
    return [model.name for model in models.loaded]


def test_the_size_is_known_before_loading(catalog: Catalog) -> None:
    card = catalog.get("a")
    model = PipelineCache("cpu", plainly).get(card)
    expected = weight_bytes(card, torch.float32)
    assert model.bytes == pytest.approx(expected, rel=0.02)  # but for small buffers
    assert weight_bytes(card, torch.bfloat16) * 2 == expected


def test_what_has_not_been_used_for_longest_goes_first(catalog: Catalog, size_gb: float) -> None:
    models = PipelineCache("cpu", plainly, 2.5 * size_gb)
    a, b, c = (catalog.get(name) for name in "abc")
    kept = models.get(a)
    models.get(b)
    assert models.get(a) is kept
    assert names(models) == ["b", "a"]
    assert not models.has_room_for(c)
    models.get(c)
    assert names(models) == ["a", "c"]
    assert models.get(a) is kept


def test_without_a_limit_small_models_stay(catalog: Catalog) -> None:
    models = PipelineCache("cpu", plainly)
    for name in "abc":
        assert models.has_room_for(catalog.get(name))
        models.get(catalog.get(name))
    assert names(models) == ["a", "b", "c"]


def test_a_model_larger_than_the_budget_has_it_for_itself(
    catalog: Catalog, size_gb: float, caplog: pytest.LogCaptureFixture
) -> None:
    models = PipelineCache("cpu", plainly, 0.5 * size_gb)
    models.get(catalog.get("a"))
    models.get(catalog.get("b"))
    assert names(models) == ["b"]
    assert [r.levelno for r in caplog.records if "more than" in r.getMessage()] == [
        logging.WARNING
    ] * 2


def test_a_model_that_is_let_go_is_gone_before_the_next_is_loaded(
    catalog: Catalog, size_gb: float
) -> None:
    import weakref

    models = PipelineCache("cpu", plainly, 1.5 * size_gb)
    unet = weakref.ref(pipeline_of(models.get(catalog.get("a"))).unet)
    gone: list[bool] = []
    models.get(catalog.get("b"), lambda _: gone.append(unet() is None))
    assert gone == [True] * 3


def test_the_frugal_way_is_a_switch_that_is_turned_back(catalog: Catalog) -> None:
    models, card = PipelineCache("cpu", plainly), catalog.get("a")
    usual = models.get(card)
    assert models.get(card, low_memory=True) is usual
    vae = pipeline_of(usual).vae
    assert (vae.use_slicing, vae.use_tiling) == (True, True)
    assert models.get(card) is usual
    assert (vae.use_slicing, vae.use_tiling) == (False, False)


def test_on_a_gpu_the_frugal_way_offloads() -> None:
    frugal = low_memory_options(ModelOptions(compile=True), "cuda")
    assert frugal == ModelOptions(
        offload="model", vae_tiling=True, vae_slicing=True, attention="sliced"
    )
    assert low_memory_options(ModelOptions(offload="model"), "cuda:1").offload == "group"
    assert low_memory_options(ModelOptions(offload="group"), "cuda").offload == "group"
    assert low_memory_options(ModelOptions(), "cpu").offload == "none"


def test_keeping_only_one_lets_the_others_go(catalog: Catalog) -> None:
    models = PipelineCache("cpu", plainly)
    for name in "abc":
        models.get(catalog.get(name))
    models.keep_only(catalog.get("b"))
    assert names(models) == ["b"]


def test_a_broken_model_is_not_read_again_until_it_changes(tiny_t2v: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_t2v, tmp_path / "model"))
    catalog, clock = Catalog({"a": folder}), Clock()
    models = PipelineCache("cpu", plainly, clock=clock)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = load_file(weights)
    save_file({name: whole[name] for name in list(whole)[1:]}, weights)
    parts: list[str] = []
    for _ in range(2):
        with pytest.raises(ModelLoadError, match="1 missing tensors"):
            models.get(catalog.get("a"), parts.append)
    assert parts == ["vae", "text_encoder", "unet"], "read once"
    assert list(models.broken) == ["a"]
    clock.now += TRY_AGAIN_AFTER_S  # a disk that did not answer may do so again
    with pytest.raises(ModelLoadError, match="1 missing tensors"):
        models.get(catalog.get("a"), parts.append)
    assert len(parts) == 6
    save_file(whole, weights)
    models.get(catalog.get("a"), parts.append)
    assert len(parts) == 9
    assert models.broken == {}


def test_loading_is_broken_off_by_what_is_raised_before_a_part(catalog: Catalog) -> None:
    models = PipelineCache("cpu", plainly)

    def stop(name: str) -> None:
        if name == "unet":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        models.get(catalog.get("a"), stop)
    assert names(models) == []
    assert models.broken == {}, "nothing is wrong with it"


def test_the_budget_of_a_machine_is_half_of_its_memory() -> None:
    free, total = device_memory("cpu")
    assert 0 < free < total
    assert model_budget("cpu", None, 123) == total // 2
    assert model_budget("cpu", 1.5, 123) == 1_500_000_000


def test_missing_bytes_are_those_that_are_still_to_be_loaded(catalog: Catalog) -> None:
    models, card = PipelineCache("cpu", plainly), catalog.get("a")
    assert models.missing_bytes(card) == weight_bytes(card, torch.float32)
    models.get(card)
    assert models.missing_bytes(card) == 0
