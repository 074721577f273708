"""Folders become pipelines, or one sentence about what is wrong with them."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.checkpoints import Catalog, ModelCard, ModelLoadError, load_pipeline
from engine.pipelines import ImageToVideoPipeline, TextToVideoPipeline
from engine.schedulers import SCHEDULER_NAMES, make_scheduler

UNET_WEIGHTS = Path("unet") / "diffusion_pytorch_model.safetensors"


def card_of(folder: Path) -> ModelCard:
    return Catalog({folder.name: folder}).get(folder.name)


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))


@pytest.fixture
def copy(tiny_t2v: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_t2v, tmp_path / "copy"))


def test_a_text_to_video_folder_becomes_a_pipeline(tiny_t2v: Path) -> None:
    pipeline = load_pipeline(card_of(tiny_t2v))
    assert isinstance(pipeline, TextToVideoPipeline)
    assert pipeline.config["text_layer"] == "penultimate"
    for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())
        assert module.dtype is torch.float32
    stored = load_file(tiny_t2v / UNET_WEIGHTS)
    loaded = pipeline.unet.state_dict()
    assert loaded.keys() == stored.keys()
    assert all(torch.equal(loaded[key], stored[key]) for key in stored)


def test_an_image_to_video_folder_becomes_a_pipeline(tiny_i2v: Path) -> None:
    pipeline = load_pipeline(card_of(tiny_i2v), dtype=torch.bfloat16)
    assert isinstance(pipeline, ImageToVideoPipeline)
    assert pipeline.image_encoder.dtype is torch.bfloat16
    assert pipeline.image_projection.dtype is torch.bfloat16


def test_models_are_loaded_by_several_threads_at_once(tiny_t2v: Path) -> None:
    """The libraries replace functions of torch while they build a network."""
    card = card_of(tiny_t2v)
    stored = load_file(tiny_t2v / UNET_WEIGHTS)
    with ThreadPoolExecutor(4) as threads:
        for pipeline in threads.map(lambda _: load_pipeline(card), range(24)):
            for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
                assert not any(tensor.is_meta for tensor in module.state_dict().values())
            loaded = pipeline.unet.state_dict()
            assert all(torch.equal(loaded[key], stored[key]) for key in stored)


def test_the_facts_choose_the_sampler_and_the_folder_the_noise_schedule(copy: Path) -> None:
    edit_json(copy / "floor33.json", scheduler="euler")
    edit_json(copy / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    scheduler = load_pipeline(card_of(copy)).scheduler
    assert scheduler.config["solver"] == "euler"
    assert scheduler.config["prediction_type"] == "v_prediction"


@pytest.mark.parametrize("name", SCHEDULER_NAMES)
@pytest.mark.parametrize("stored", ["ddim-original", "dpm++2m"])
def test_a_folder_that_one_sampler_wrote_is_served_by_any(
    copy: Path, stored: str, name: str
) -> None:
    written = make_scheduler(stored, 0.3, rescale_steps=100, beta_end=0.01)
    written.save_pretrained(copy / "scheduler")
    edit_json(copy / "floor33.json", scheduler=name)
    scheduler = load_pipeline(card_of(copy)).scheduler
    assert type(scheduler) is type(make_scheduler(name))
    assert scheduler.config.get("solver", "ddim-original") == name
    assert torch.equal(scheduler.schedule.alphas_cumprod, written.schedule.alphas_cumprod)
    assert torch.equal(scheduler.schedule.scale, written.schedule.scale)


def test_nothing_is_printed(tiny_t2v: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_pipeline(card_of(tiny_t2v))
    assert capfd.readouterr() == ("", "")


def drop_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / UNET_WEIGHTS)
    del tensors["conv_in.weight"]
    save_file(tensors, folder / UNET_WEIGHTS)


def reshape_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / UNET_WEIGHTS)
    tensors["conv_in.weight"] = tensors["conv_in.weight"][:, :2].contiguous()
    save_file(tensors, folder / UNET_WEIGHTS)


def add_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / UNET_WEIGHTS)
    save_file({**tensors, "stray": torch.zeros(1)}, folder / UNET_WEIGHTS)


def drop_a_text_tensor(folder: Path) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    del tensors[next(key for key in tensors if key.endswith("fc1.weight"))]
    save_file(tensors, path, metadata={"format": "pt"})


def break_config(folder: Path) -> None:
    (folder / "unet" / "config.json").write_text("{")


def impossible_config(folder: Path) -> None:
    edit_json(folder / "unet" / "config.json", model_channels=33)


def delete_config(folder: Path) -> None:
    (folder / "vae" / "config.json").unlink()


def foreign_scheduler(folder: Path) -> None:
    edit_json(folder / "scheduler" / "scheduler_config.json", _class_name="os.system")


def delete_scheduler(folder: Path) -> None:
    (folder / "scheduler" / "scheduler_config.json").unlink()


def unknown_sampler(folder: Path) -> None:
    edit_json(folder / "floor33.json", scheduler="magic")


def empty_tokenizer(folder: Path) -> None:
    for path in (folder / "tokenizer").iterdir():
        path.unlink()


def foreign_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer.json"
    content = json.loads(path.read_bytes())
    content["model"]["vocab"] |= {f"word{index}</w>": 100 + index for index in range(100)}
    path.write_text(json.dumps(content))


def unlisted_component(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_bytes())
    del index["tokenizer"]
    (folder / "model_index.json").write_text(json.dumps(index))


def unknown_text_layer(folder: Path) -> None:
    edit_json(folder / "model_index.json", text_layer="first")


def wrong_task(folder: Path) -> None:
    edit_json(folder / "floor33.json", task="image-to-video")


FOUND_BEFORE_LOADING = (
    break_config,
    delete_config,
    foreign_scheduler,
    delete_scheduler,
    unknown_sampler,
    empty_tokenizer,
    unlisted_component,
    unknown_text_layer,
    wrong_task,
)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (drop_a_tensor, r"unet.*missing tensors, such as conv_in\.weight"),
        (reshape_a_tensor, r"unet.*conv_in\.weight"),
        (add_a_tensor, "unet.*unexpected tensors, such as stray"),
        (drop_a_text_tensor, "text_encoder.*missing tensors"),
        (break_config, "unet cannot be loaded"),
        (impossible_config, "unet cannot be loaded.*model_channels"),
        (delete_config, "vae cannot be loaded"),
        (foreign_scheduler, "_class_name is none of OriginalDDIMScheduler, SolverScheduler"),
        (delete_scheduler, "scheduler_config.json is missing"),
        (unknown_sampler, "scheduler cannot be loaded.*magic"),
        (empty_tokenizer, "tokenizer holds neither"),
        (foreign_tokenizer, "tokenizer of .* has 155 entries, its text encoder only 128"),
        (unlisted_component, "lacks the component 'tokenizer'"),
        (unknown_text_layer, "do not fit together.*text_layer"),
        (wrong_task, "lacks the component 'image_encoder'"),
    ],
)
def test_what_does_not_fit_is_told_in_one_sentence(
    copy: Path, damage: Callable[[Path], None], text: str
) -> None:
    damage(copy)
    card = card_of(copy)
    assert card.ready == (damage not in FOUND_BEFORE_LOADING), card.problem
    with pytest.raises(ModelLoadError, match=text) as caught:
        load_pipeline(card)
    assert "\n" not in str(caught.value)


def test_a_model_that_is_not_ready_is_not_loaded(copy: Path) -> None:
    (copy / UNET_WEIGHTS).unlink()
    with pytest.raises(ModelLoadError, match=r"is not ready: .*unet holds no"):
        load_pipeline(card_of(copy))
