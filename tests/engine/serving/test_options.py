"""Options of single models, from the settings to the pipelines that a worker keeps."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.checkpoints import Catalog
from engine.models import layers
from engine.models.attention import ATTENTION_BACKENDS
from engine.serving import EngineSettings, EngineSettingsError, ModelOptions
from engine.serving.execution import pipeline_cache
from engine.serving.execution.pipeline_cache import PipelineCache
from engine.settings import AttentionChoice
from tests.engine.serving.conftest import MakeEngine, MakeRequest
from tests.engine.serving.workbench import pipeline_of


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"precision": "int8"}, "precision: 'int8' is none of auto, float32, float16, bfloat16"),
        ({"offload": "disk"}, "offload: 'disk' is none of none, model, group"),
        ({"attention": "math"}, "attention: 'math' is none of sdpa, sliced"),
        ({"vae_tiling": "yes"}, "vae_tiling: 'yes' is neither true nor false"),
        ({"vae_slicing": 1}, "vae_slicing: 1 is neither true nor false"),
        ({"compile": None}, "compile: None is neither true nor false"),
        ({"compile": True, "offload": "model"}, 'compile: cannot go with offload = "model"'),
    ],
)
def test_impossible_options_are_refused_by_key(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(EngineSettingsError, match=text):
        ModelOptions(**changes)


def test_every_choice_of_attention_is_one_of_the_networks() -> None:
    for choice in AttentionChoice.__args__:  # type: ignore[attr-defined]
        assert choice in ATTENTION_BACKENDS


def test_a_models_own_precision_beats_the_engines(tmp_path: Path) -> None:
    settings = EngineSettings(
        output_dir=tmp_path,
        precision="bfloat16",
        model_options={"a": ModelOptions(precision="float32"), "b": ModelOptions(vae_tiling=True)},
    )
    assert settings.options_of("a").precision == "float32"
    assert settings.options_of("b") == ModelOptions(precision="bfloat16", vae_tiling=True)
    assert settings.options_of("c") == ModelOptions(precision="bfloat16")


def cards(**folders: Path) -> Catalog:
    return Catalog(folders)


def test_a_model_is_loaded_with_its_options_and_the_others_without(
    tiny_t2v: Path, tiny_i2v: Path
) -> None:
    catalog = cards(small=tiny_t2v, plain=tiny_i2v)
    chosen = {
        "small": ModelOptions(
            precision="bfloat16", vae_slicing=True, vae_tiling=True, attention="sliced"
        )
    }
    cache = PipelineCache("cpu", lambda name: chosen.get(name, ModelOptions()))
    small, plain = (pipeline_of(cache.get(catalog.get(name))) for name in ("small", "plain"))
    assert (small.unet.dtype, plain.unet.dtype) == (torch.bfloat16, torch.float32)
    assert (small.vae.use_slicing, plain.vae.use_slicing) == (True, False)
    assert (small.vae.use_tiling, plain.vae.use_tiling) == (True, False)
    backends = [
        {module.backend for module in pipe.unet.modules() if hasattr(module, "backend")}
        for pipe in (small, plain)
    ]
    assert backends == [{"sliced"}, {"sdpa"}]


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU is treated like a GPU, so that offloading really happens, from memory to memory."""
    monkeypatch.setattr(pipeline_cache, "usable_options", lambda options, _device: options)
    monkeypatch.setattr(layers, "_FEW_POSITIONS", 0, raising=False)


@pytest.mark.usefixtures("as_on_a_gpu")
def test_an_offloaded_model_has_the_device_for_itself(tiny_t2v: Path, tiny_i2v: Path) -> None:
    catalog = cards(resident=tiny_t2v, large=tiny_i2v, larger=tiny_i2v)
    chosen = {"large": ModelOptions(offload="model"), "larger": ModelOptions(offload="group")}
    cache = PipelineCache("cpu", lambda name: chosen.get(name, ModelOptions()))
    resident = cache.get(catalog.get("resident"))
    large = cache.get(catalog.get("large"))
    larger = cache.get(catalog.get("larger"))
    # What waits in main memory is not in the way of anyone.
    assert cache.get(catalog.get("large")) is large
    again = cache.get(catalog.get("resident"))
    assert again is not resident
    assert cache.get(catalog.get("resident")) is again
    assert cache.get(catalog.get("larger")) is larger
    assert cache.get(catalog.get("resident")) is not again


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("offload", ["model", "group"])
async def test_an_offloaded_model_makes_the_same_clips(
    make_engine: MakeEngine, request_for: MakeRequest, offload: Any
) -> None:
    clips = []
    for chosen in (ModelOptions(), ModelOptions(offload=offload)):
        engine = make_engine(model_options={"tiny-t2v": chosen})
        for job_id in ("first", "second"):
            result = await engine.submit(request_for(job_id)).result()
            clips.append(result.path.read_bytes())
        await engine.close()
    assert len(set(clips)) == 1


def test_what_needs_a_gpu_is_told_at_the_start_and_ignored(
    make_engine: MakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        make_engine(
            model_options={
                "big": ModelOptions(offload="group"),
                "fast": ModelOptions(compile=True),
                "plain": ModelOptions(vae_slicing=True, attention="sliced"),
            }
        )
    assert [record.getMessage() for record in caplog.records] == [
        "the options of the model big: offload needs a CUDA GPU and is ignored on cpu",
        "the options of the model fast: compile needs a CUDA GPU and is ignored on cpu",
    ]


async def test_options_that_need_a_gpu_do_not_stop_a_job_on_a_cpu(
    make_engine: MakeEngine, request_for: MakeRequest
) -> None:
    engine = make_engine(model_options={"tiny-t2v": ModelOptions(offload="model")})
    result = await engine.submit(request_for()).result()
    assert result.path.is_file()
