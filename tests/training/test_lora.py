"""LoRA training on the shipped models, from a recipe to a model that the engine serves."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import load_file

from engine.checkpoints import Catalog, LoraSource, load_pipeline, read_lora
from engine.checkpoints.catalog import SHIPPED_MODELS
from engine.checkpoints.folder.lora import LORA_METADATA, LORA_WEIGHTS
from engine.models import VideoUNet
from training.cli import main
from training.data.clips import load_relabelled_clips
from training.loop.checkpoint import checkpoint_folders
from training.loop.train import export_average, run
from training.recipe.model import Recipe, RecipeError, TextToVideoStage, load_recipe
from training.stages import make_task
from training.stages.lora import LoraTask, attention_layers, lora_facts

RECIPE = """
name = "mine"
[lora]
rank = 2
alpha = 4.0
{lora}
[stage]
kind = "{kind}"
vae = "{model}/vae"
towers = "{model}"
start = "{model}"
clips = 2
probe_clips = 2
frames = 4
stride = 4
temporal_lr_scale = 2.0
{stage}
[optimisation]
steps = {steps}
batch_size = 2
learning_rate = 1e-2
warmup = 1
ema = 0.5
[bookkeeping]
evaluate_every = 100
save_every = 2
samples = 0
"""

WriteRecipe = Callable[..., Path]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies: nobody shall write into the shipped ones."""
    return Path(shutil.copytree(SHIPPED_MODELS, tmp_path_factory.mktemp("copy") / "models"))


@pytest.fixture(autouse=True)
def _elsewhere(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(models.parent)  # latents of served models are kept in the current folder


@pytest.fixture
def recipe(tmp_path: Path, models: Path) -> WriteRecipe:
    def write(model: str = "demo-t2v", *, lora: str = "", stage: str = "", steps: int = 4) -> Path:
        kind = "text-to-video" if "t2v" in model else "image-to-video"
        if kind == "image-to-video":
            stage = stage or 'trains = "video"'
        text = RECIPE.format(kind=kind, model=models / model, lora=lora, stage=stage, steps=steps)
        path = tmp_path / "recipe.toml"
        path.write_text(text)
        return path

    return write


def trained(path: Path, folder: Path) -> LoraTask:
    loaded = load_recipe(str(path))
    task = task_of(loaded)
    run(task, loaded, folder)
    return task


def task_of(loaded: Recipe) -> LoraTask:
    torch.manual_seed(loaded.seed)
    task = make_task(loaded)
    assert isinstance(task, LoraTask)
    return task


def exported(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / LORA_WEIGHTS)


@pytest.mark.parametrize("name", ["demo-t2v", "demo-i2v"])
def test_the_base_stays_and_the_lora_moves(
    recipe: WriteRecipe, models: Path, tmp_path: Path, name: str
) -> None:
    task = trained(recipe(name, steps=2), tmp_path / "run")
    base = VideoUNet.from_pretrained(models / name / "unet", torch_dtype=torch.float32)
    held = {n.replace(".base_layer.", "."): w for n, w in task.unet.named_parameters()}
    for key, weight in base.state_dict().items():
        assert torch.equal(held[key], weight), key
        assert not held[key].requires_grad
    assert all(w.any() for n, w in held.items() if ".lora_B." in n)  # each began as zeros


@pytest.mark.parametrize("name", ["demo-t2v", "demo-i2v"])
def test_a_run_becomes_a_model_that_the_engine_serves(
    recipe: WriteRecipe, models: Path, tmp_path: Path, name: str
) -> None:
    path = recipe(name, lora='title = "Mine"\ntrigger_words = ["spin"]', steps=2)
    assert main(["run", str(path), "--output", str(tmp_path / "run"), "--cpu"]) == 0
    output = tmp_path / "installed" / "mine"
    output.parent.mkdir()
    arguments = ["export", str(path), "--run", str(tmp_path / "run"), "--output", str(output)]
    assert main(arguments) == 0

    lora = read_lora(output)
    assert (lora.rank, lora.alpha, lora.title) == (2, 4.0, "Mine")
    assert lora.facts is not None
    assert lora.facts.trigger_words == ("spin",)
    assert lora.facts.licence == "Apache-2.0"
    assert lora.facts.base_revision == Catalog(shipped=models).get(name).revision
    card = Catalog(shipped=models, models_dir=tmp_path / "installed").get("mine")
    assert card.problem is None
    assert (card.base, card.loras) == (name, (LoraSource(output, 1.0),))

    base = VideoUNet.from_pretrained(models / name / "unet", torch_dtype=torch.float32)
    changed = {
        layer.removesuffix(".weight")
        for layer, weight in load_pipeline(card).unet.state_dict().items()
        if not torch.equal(weight, base.state_dict()[layer])
    }
    assert changed == set(attention_layers(base, "attention"))
    assert any("to_k_image" in layer for layer in changed) == (name == "demo-i2v")


def test_nothing_is_written_into_the_model(
    recipe: WriteRecipe, models: Path, tmp_path: Path
) -> None:
    before = sorted(models.rglob("*"))
    trained(recipe(steps=1), tmp_path / "run")
    assert sorted(models.rglob("*")) == before


def test_captions_tell_another_motion_than_the_clips_show(models: Path, tmp_path: Path) -> None:
    vae = AutoencoderKL.from_pretrained(models / "demo-t2v" / "vae", torch_dtype=torch.float32)
    clips = load_relabelled_clips(vae.eval(), tmp_path, seed=1, count=2, shows="spin", says="still")
    assert {scene.motion for scene in clips.scenes} == {"still"}
    shown = load_relabelled_clips(vae, tmp_path, seed=1, count=2, shows="spin", says="spin")
    assert torch.equal(clips.latents, shown.latents)
    assert (clips.latents[:, 0] - clips.latents[:, -1]).abs().amax() > 0.5  # they do move


def test_the_shipped_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SHIPPED_MODELS.parents[1])
    shipped = load_recipe("demo-lora")
    assert isinstance(shipped.stage, TextToVideoStage)
    assert shipped.stage.start is not None
    assert shipped.lora is not None
    facts = lora_facts(shipped.lora, shipped.name, shipped.stage.start)
    assert (facts.base, facts.licence) == ("demo-t2v", "Apache-2.0")


def test_the_file_has_the_layout_of_diffusers_pipelines(
    recipe: WriteRecipe, tmp_path: Path
) -> None:
    task = trained(recipe(steps=2), tmp_path / "run")
    file = tmp_path / "run" / "model" / LORA_WEIGHTS
    with safe_open(file, "pt") as held:
        settings = json.loads(held.metadata()["lora_adapter_metadata"])
        names = set(held.keys())
    layers = attention_layers(VideoUNet.from_config(task.unet.config), "attention")
    assert names == {f"unet.{layer}.lora_{side}.weight" for layer in layers for side in "AB"}
    assert settings["unet.r"] == 2
    assert settings["unet.lora_alpha"] == 4.0
    assert str(tmp_path) not in json.dumps(settings)


@pytest.mark.parametrize("name", ["demo-t2v", "demo-i2v"])
def test_resumed_equals_uninterrupted(recipe: WriteRecipe, tmp_path: Path, name: str) -> None:
    path = recipe(name, lora="dropout = 0.2", steps=4)
    trained(path, tmp_path / "whole")
    loaded = load_recipe(str(path))
    stopped = task_of(loaded)
    shutil.copytree(
        checkpoint_folders(tmp_path / "whole")[0],
        tmp_path / "parts" / "checkpoints" / "step-000002",
    )
    torch.manual_seed(123)  # the first weights come from the checkpoint
    run(stopped, loaded, tmp_path / "parts")
    whole, parts = exported(tmp_path / "whole"), exported(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_checkpoints_hold_the_lora_alone(recipe: WriteRecipe, tmp_path: Path) -> None:
    path = recipe(steps=2)
    task = trained(path, tmp_path / "run")
    (newest,) = checkpoint_folders(tmp_path / "run")
    for file in ("model.safetensors", "average.safetensors"):
        assert all(".lora_" in name for name in load_file(newest / file))
    count = sum(p.numel() for group in task.parameter_groups() for p in group.parameters)
    size = (newest / "optimizer.pt").stat().st_size
    assert size < 1.5 * 2 * 4 * count + 400_000  # two moments of the LoRA, none of the base
    before = exported(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    export_average(task_of(load_recipe(str(path))), load_recipe(str(path)), tmp_path / "run")
    assert all(torch.equal(before[n], t) for n, t in exported(tmp_path / "run").items())


def test_a_checkpoint_without_a_layer_is_refused(recipe: WriteRecipe, tmp_path: Path) -> None:
    task = task_of(load_recipe(str(recipe())))
    state = task.model.state_dict()
    state.pop(next(iter(state)))
    with pytest.raises(RuntimeError, match="Missing key"):
        task.model.load_state_dict(state)


def test_targets(recipe: WriteRecipe) -> None:
    unet = task_of(load_recipe(str(recipe()))).unet
    plain = VideoUNet.from_config(unet.config)
    both = set(attention_layers(plain, "attention"))
    time, space = set(attention_layers(plain, "temporal")), set(attention_layers(plain, "spatial"))
    assert both == time | space
    assert not time & space
    assert "initial_temporal.blocks.0.attn_1.to_q" in time
    assert "mid_in.spatial.blocks.0.attn_2.to_out" in space
    kinds = {layer.rpartition(".")[2] for layer in both}
    assert kinds == {"to_q", "to_k", "to_v", "to_out"}


def test_temporal_layers_learn_at_their_own_rate(recipe: WriteRecipe) -> None:
    space, time = task_of(load_recipe(str(recipe()))).parameter_groups()
    assert (space.rate, time.rate) == (1.0, 2.0)
    (only,) = task_of(load_recipe(str(recipe(lora='targets = "temporal"')))).parameter_groups()
    assert (only.rate, len(only.parameters)) == (2.0, len(time.parameters))


def test_an_untrained_lora_has_the_loss_of_the_base(recipe: WriteRecipe, models: Path) -> None:
    path = recipe()
    task = task_of(load_recipe(str(path)))
    before = task.evaluate()
    with torch.no_grad():
        torch.manual_seed(0)
        first = task.loss(np.random.default_rng(0), 0)
        task.unet.disable_adapters()
        torch.manual_seed(0)
        assert torch.equal(task.loss(np.random.default_rng(0), 0), first)
        assert task.evaluate() == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("rank = 2", "rank = 0"), "lora.rank"),
        (("rank = 2", "rang = 2"), "lora.rang"),
        (("alpha = 4.0", 'targets = "all"'), "lora.targets"),
        (("alpha = 4.0", "alpha = 0"), "lora.alpha"),
        (("frames = 4", 'frames = 4\nshows = "spin"'), "shows and says belong together"),
        (("frames = 4", 'frames = 4\nshows = "jump"\nsays = "still"'), "shows"),
    ],
)
def test_wrong_values_are_named(recipe: WriteRecipe, change: tuple[str, str], words: str) -> None:
    path = recipe()
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(RecipeError, match=words):
        load_recipe(str(path))


def test_stages_that_cannot_be_tuned_so(
    recipe: WriteRecipe, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe("demo-i2v", stage='trains = "mapping"')
    assert main(["run", str(path), "--output", str(tmp_path / "run")]) == 2
    assert 'stage.trains = "video"' in capsys.readouterr().err

    bare = shutil.copytree(models / "demo-t2v", tmp_path / "bare")
    (bare / "floor33.json").unlink()
    path = recipe()
    path.write_text(path.read_text().replace(f'start = "{models}/demo-t2v"', f'start = "{bare}"'))
    assert main(["run", str(path), "--output", str(tmp_path / "run")]) == 2
    assert "lora.base" in capsys.readouterr().err

    path.write_text(
        'name = "v"\n[lora]\n[stage]\nkind = "vae"\n[optimisation]\n'
        "steps = 1\nbatch_size = 1\nlearning_rate = 1e-3"
    )
    assert main(["run", str(path), "--output", str(tmp_path / "run")]) == 2
    assert "kind 'vae' has no UNet" in capsys.readouterr().err


def test_export_replaces_a_lora_and_nothing_else(
    recipe: WriteRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe(steps=2)
    output = tmp_path / "out"
    arguments = ["export", str(path), "--run", str(tmp_path / "run"), "--output", str(output)]
    assert main(arguments) == 2
    assert "run the recipe first" in capsys.readouterr().err
    trained(path, tmp_path / "run")
    output.mkdir()
    (output / "mine.txt").write_text("keep")
    assert main(arguments) == 2
    assert (output / "mine.txt").exists()
    (output / "mine.txt").unlink()
    assert main(arguments) == 0
    (output / "README.md").write_text("my words")
    assert main(arguments) == 0
    assert {f.name for f in output.iterdir()} == {LORA_METADATA, LORA_WEIGHTS, "README.md"}
