"""A model folder that somebody brought: told by what is wrong with it, and nobody else's trouble.

Kinds seen elsewhere: diffusers#10928, Kolors#7 (only half precision there); SceneWorks#1333,
lmstudio-bug-tracker#486 (files that macOS leaves on foreign disks); MFTCoder#20 (pointers of Git
LFS); catalogues that end in a traceback over one file.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.__main__ import main
from engine.checkpoints import Catalog, ModelCard, ModelLoadError, load_pipeline
from engine.checkpoints.folder.lora import LORA_WEIGHTS, LoraSource
from engine.checkpoints.folder.weights import count_parameters
from engine.checkpoints.merge import merge_loras
from engine.serving.execution.model_memory import weight_bytes
from tests.engine.loras import write_lora

WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
DEEP = "[" * 200_000
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 10\n"
PAGE = b"<!DOCTYPE html><html><body>Sign in to continue</body></html>"
CONTROL = "a\x1b[2J\x1b]0;b\x07c\nd\u202ee\u2066"

Damage = Callable[[Path], object]


@pytest.fixture
def models(tiny_t2v: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    for name in ("good", "odd"):
        shutil.copytree(tiny_t2v, folder / name)
    return folder


def catalog(models: Path) -> Catalog:
    return Catalog(shipped=models / "nothing", models_dir=models)


def cards_of(models: Path) -> dict[str, ModelCard]:
    return {card.name: card for card in catalog(models).cards() if card.installed}


def problem_of_odd(models: Path) -> str:
    cards = cards_of(models)
    assert cards["good"].ready
    assert not cards["odd"].ready
    assert cards["odd"].problem
    return cards["odd"].problem


def edit(file: Path, **keys: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


def change_weights(file: Path, change: Callable[[Tensor], Tensor]) -> None:
    held = {name: change(tensor) for name, tensor in load_file(file).items()}
    save_file(held, file, metadata={"format": "pt"})


def write_index(folder: Path, weight_map: object) -> None:
    content = {"metadata": {}, "weight_map": weight_map}
    (folder / "unet" / INDEX).write_text(json.dumps(content))


def write(name: str, content: str | bytes) -> Damage:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(data)


def remove(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def rename(name: str, new: str) -> Damage:
    return lambda folder: (folder / name).rename((folder / name).with_name(new))


def config(part: str, **keys: object) -> Damage:
    return lambda folder: edit(folder / part / "config.json", **keys)


def facts(**keys: object) -> Damage:
    return lambda folder: edit(folder / "floor33.json", **keys)


def schedule(**keys: object) -> Damage:
    return lambda folder: edit(folder / "scheduler" / "scheduler_config.json", **keys)


def pipe_in_place_of(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return damage


def link_out(name: str) -> Damage:
    def damage(folder: Path) -> None:
        outside = folder.parent.parent / "outside"
        shutil.move(folder / name, outside)
        (folder / name).symlink_to(outside)

    return damage


def component(name: str) -> Damage:
    return lambda folder: edit(folder / "model_index.json", **{name: ["diffusers", "Autoencoder"]})


def rename_component(folder: Path) -> None:
    file = folder / "model_index.json"
    file.write_text(file.read_text().replace('"vae"', '"\\ud800"'))


def whole_numbers(folder: Path) -> None:
    file = folder / "unet" / WEIGHTS
    change_weights(file, lambda tensor: (tensor * 100).clamp(-127, 127).to(torch.int8))


def incomplete_index(folder: Path) -> None:
    write_index(folder, {"conv_in.weight": WEIGHTS})


def index_of_more(folder: Path) -> None:
    names = load_file(folder / "unet" / WEIGHTS)
    write_index(folder, dict.fromkeys([*names, "one.more"], WEIGHTS))


def only_half_precision(folder: Path) -> None:
    for file in folder.rglob("*.safetensors"):
        file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))


def header_of(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(8, "little") + data


BROKEN: dict[str, tuple[Damage, str]] = {
    "an index of lists": (lambda f: write_index(f, {"a": ["b"]}), "weight_map"),
    "an index of numbers": (lambda f: write_index(f, {"a": 1}), "weight_map"),
    "an index that is a list": (lambda f: write_index(f, ["a"]), "weight_map"),
    "an index of nothing": (lambda f: write_index(f, {}), "weight_map"),
    "an index of other folders": (
        lambda f: write_index(f, {"conv_in.weight": "../../good/unet/" + WEIGHTS}),
        "weight_map",
    ),
    "an index of one tensor": (incomplete_index, "does not say"),
    "an index of too many": (index_of_more, "none holds one.more"),
    "an index without metadata": (
        write(f"unet/{INDEX}", json.dumps({"weight_map": {"a": WEIGHTS}})),
        "metadata",
    ),
    "an index without an end": (write(f"unet/{INDEX}", DEEP), "nested too deep"),
    "facts without an end": (write("floor33.json", DEEP), "nested too deep"),
    "facts of objects without an end": (write("floor33.json", '{"a":' * 9999), "nested too deep"),
    "a long number": (write("floor33.json", '{"width": ' + "9" * 9000 + "}"), "9000 digits"),
    "no number": (write("floor33.json", '{"default_guidance": NaN}'), "NaN"),
    "more than any number": (write("floor33.json", '{"default_guidance": 1e999}'), "too large"),
    "a key twice": (write("floor33.json", '{"width": 64, "width": 32}'), "twice"),
    "no text": (write("floor33.json", b"\xff\xfe{\x00}\x00"), "UTF-8"),
    "a great deal": (write("floor33.json", " " * 2_000_000), "larger than"),
    "a list of components without an end": (write("model_index.json", DEEP), "nested too deep"),
    "a component elsewhere": (component("/etc"), "component named"),
    "a component above": (component("../good/vae"), "component named"),
    "a component that cannot be shown": (rename_component, "component named"),
    "a setting of another pipeline": (
        lambda f: edit(f / "model_index.json", requires_safety_checker=False),
        "no setting",
    ),
    "a pipe for facts": (pipe_in_place_of("floor33.json"), "no regular file"),
    "a pipe for an index": (pipe_in_place_of("model_index.json"), "no regular file"),
    "a pipe for weights": (pipe_in_place_of(f"unet/{WEIGHTS}"), "no regular file"),
    "a pipe beside the tokenizer": (pipe_in_place_of("tokenizer/x.json"), "no regular file"),
    "a link to other facts": (link_out("floor33.json"), "leads out"),
    "a link to other weights": (link_out(f"unet/{WEIGHTS}"), "leads out"),
    "a link to another network": (link_out("vae"), "leads out"),
    "a pointer for weights": (write(f"unet/{WEIGHTS}", POINTER), "Git LFS"),
    "a pointer for a config": (write("unet/config.json", POINTER), "Git LFS"),
    "a pointer for a tokenizer": (write("tokenizer/tokenizer.json", POINTER), "Git LFS"),
    "a web page for weights": (write(f"vae/{WEIGHTS}", PAGE), "web page"),
    "an archive for weights": (write(f"vae/{WEIGHTS}", b"PK\x03\x04" + bytes(99)), "torch.save"),
    "a pickle for weights": (write(f"vae/{WEIGHTS}", b"\x80\x02}q\x00." + bytes(99)), "pickle"),
    "a header without an end": (write(f"vae/{WEIGHTS}", header_of(DEEP)), "nested too deep"),
    "a header of nothing": (write(f"vae/{WEIGHTS}", header_of('{"a": 1}')), "does not describe"),
    "a header beyond the file": (write(f"vae/{WEIGHTS}", b"\xff" * 7 + b"\x00{"), "not whole"),
    "whole numbers": (whole_numbers, "I8"),
    "half precision alone": (only_half_precision, "fp16"),
    "weights of another name": (rename(f"unet/{WEIGHTS}", "model.safetensors"), "rename it"),
    "no config": (remove("unet/config.json"), "config.json is missing"),
    "a config with a byte order mark": (write("unet/config.json", b"\xef\xbb\xbf{}"), "byte order"),
    "an attention of its own": (
        config("text_encoder", attn_implementation="org/kernel"),
        "attn_implementation",
    ),
    "a private attention": (
        config("text_encoder", _attn_implementation="org/kernel"),
        "_attn_implementation",
    ),
    "quantised by its config": (
        config("text_encoder", quantization_config={"quant_method": "bitsandbytes"}),
        "quantization_config",
    ),
    "a quantised network": (
        config("unet", quantization_config={"quant_method": "gguf"}),
        "quantization_config",
    ),
    "code of its own": (config("vae", auto_map={"AutoModel": "a.B"}), "auto_map"),
    "weights of its own choice": (
        config("text_encoder", transformers_weights="other.safetensors"),
        "transformers_weights",
    ),
    "another model's adapter": (
        write("text_encoder/adapter_config.json", '{"base_model_name_or_path": "/x"}'),
        "adapter_config.json",
    ),
    "more layers than tensors": (
        config("text_encoder", num_hidden_layers=999_999),
        "num_hidden_layers",
    ),
    "more blocks than tensors": (config("unet", num_res_blocks=999_999), "num_res_blocks"),
    "more words than rows": (config("text_encoder", vocab_size=999_999), "vocab_size"),
    "a number beyond all": (config("unet", model_channels=10**12), "model_channels"),
    "no scheduler": (remove("scheduler/scheduler_config.json"), "scheduler_config.json"),
    "a schedule that cannot be": (schedule(beta_end=2), "beta_end"),
    "a schedule of words": (schedule(num_train_timesteps="many"), "num_train_timesteps"),
    "a schedule beyond all": (schedule(num_train_timesteps=10**12), "num_train_timesteps"),
    "another scheduler": (schedule(_class_name="DDIMScheduler"), "_class_name"),
    "a sampler that is not known": (facts(scheduler="dpm++9m"), r"dpm\+\+9m"),
    "steps that the sampler refuses": (facts(scheduler="lcm", default_steps=60), "50 steps"),
    "no tokenizer": (remove("tokenizer/tokenizer.json"), "tokenizer"),
    "a tokenizer without words": (write("tokenizer/tokenizer.json", "{}"), "vocabulary"),
    "a tokenizer of no known kind": (
        write("tokenizer/tokenizer.json", '{"model": {"vocab": {"a": "b"}}}'),
        "cannot be loaded",
    ),
}


@pytest.mark.parametrize(("damage", "text"), BROKEN.values(), ids=BROKEN)
def test_one_broken_folder_leaves_the_others(models: Path, damage: Damage, text: str) -> None:
    damage(models / "odd")
    problem = problem_of_odd(models)
    assert problem.isprintable()
    assert pytest.raises(ModelLoadError, match=text).matches(ModelLoadError(problem)), problem


@pytest.mark.parametrize("metadata", [DEEP, '{"r": 2, "lora_alpha": ' + "9" * 4000 + "}", "[]"])
def test_metadata_of_a_lora_leave_the_others(models: Path, metadata: str) -> None:
    file = write_lora(models / "drift", models / "good") / LORA_WEIGHTS
    save_file(load_file(file), file, metadata={"lora_adapter_metadata": metadata})
    cards = cards_of(models)
    assert cards["good"].ready
    assert not cards["drift"].ready


def test_a_fault_that_nobody_thought_of_costs_one_model(
    models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from engine.checkpoints import catalog as module

    read = module.read_metadata

    def fail(folder: Path) -> Any:
        if folder.name == "odd":
            raise ZeroDivisionError("nobody thought of it")
        return read(folder)

    monkeypatch.setattr(module, "read_metadata", fail)
    found = catalog(models)
    for _ in range(2):
        cards = {card.name: card for card in found.cards()}
        assert cards["good"].ready
        assert "cannot be read" in (cards["odd"].problem or "")
    assert len([r for r in caplog.records if r.exc_info]) == 1, "told once, with its traceback"


def test_the_command_lists_what_there_is(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_index(models / "odd", {"a": ["x"]})
    assert main(["models", "--models-dir", str(models)]) == 0
    said = capsys.readouterr().out
    assert "good  text-to-video  ready" in said
    assert "odd  text-to-video  NOT READY" in said


@pytest.mark.parametrize("command", [["models"], ["info", "odd"]])
def test_texts_of_a_folder_cannot_steer_the_terminal(
    models: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    edit(models / "odd" / "floor33.json", title=CONTROL, licence=CONTROL)
    assert main([*command, "--models-dir", str(models)]) == 0
    said = capsys.readouterr().out
    assert all(line.isprintable() for line in said.splitlines())
    assert r"a\x1b[2J" in said
    card = cards_of(models)["odd"]
    assert card.ready
    assert card.title.isprintable()
    assert card.licence.isprintable()


NAMES = [b"x" * 130, "schön".encode("latin-1"), b"a\nb", "a\u202eb".encode(), b"a b", b"-rf"]


@pytest.mark.parametrize("name", NAMES)
def test_a_folders_name_that_is_no_models_name(models: Path, name: bytes) -> None:
    os.rename(os.fsencode(models / "odd"), os.path.join(os.fsencode(models), name))
    cards = cards_of(models)
    assert cards["good"].ready
    (odd,) = (card for card in cards.values() if card.name != "good")
    assert not odd.ready
    assert "rename it" in (odd.problem or "")
    assert odd.name.isprintable()
    assert 1 <= len(odd.name) <= 64


def test_files_of_the_hubs_cache_are_followed(models: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--some--model"
    snapshot = repository / "snapshots" / "0123"
    for number, file in enumerate(sorted((models / "odd").rglob("*"))):
        if file.is_file():
            blob = repository / "blobs" / str(number)
            blob.parent.mkdir(parents=True, exist_ok=True)
            place = snapshot / file.relative_to(models / "odd")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, blob)
            place.symlink_to(blob)
    card = Catalog({"mine": snapshot}).get("mine")
    assert card.ready, card.problem
    assert card.revision == cards_of(models)["odd"].revision


# What counts as weights


def add_half_precision(folder: Path) -> None:
    file = folder / "unet" / WEIGHTS
    held = {name: tensor.half() for name, tensor in load_file(file).items()}
    save_file(held, file.with_name("diffusion_pytorch_model.fp16.safetensors"))


def add_copy(name: str) -> Damage:
    return lambda folder: shutil.copyfile(folder / "unet" / WEIGHTS, folder / "unet" / name)


def add_whole_file_beside_parts(folder: Path) -> None:
    """diffusers reads the parts then."""
    file = folder / "unet" / WEIGHTS
    shutil.copyfile(file, file.with_name("part.safetensors"))
    write_index(folder, dict.fromkeys(load_file(file), "part.safetensors"))


def add_parts_beside_the_whole_file(folder: Path) -> None:
    """transformers reads the whole file then."""
    index = folder / "text_encoder" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))


BESIDE: dict[str, Damage] = {
    "half precision": add_half_precision,
    "a copy": add_copy("backup.safetensors"),
    "without averages": add_copy("diffusion_pytorch_model.non_ema.safetensors"),
    "the companion of macOS": lambda f: (f / "unet" / f"._{WEIGHTS}").write_bytes(b"\0\5\x16\7"),
    "an old index": add_parts_beside_the_whole_file,
    "a pickle": lambda f: (f / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x02."),
    "a picture": lambda f: (f / "unet" / "sample.png").write_bytes(b"\x89PNG"),
}


@pytest.mark.parametrize("add", BESIDE.values(), ids=BESIDE)
def test_what_is_not_loaded_counts_for_nothing(models: Path, tmp_path: Path, add: Damage) -> None:
    before = cards_of(models)["odd"]
    count, size = count_parameters(before.path), weight_bytes(before, torch.float32)
    add(models / "odd")
    after = cards_of(models)["odd"]
    assert after.ready, after.problem
    assert count_parameters(after.path) == count
    assert weight_bytes(after, torch.float32) == size
    assert after.revision == before.revision
    load_pipeline(after)


def test_parts_go_before_a_whole_file(models: Path) -> None:
    before = cards_of(models)["odd"]
    count = count_parameters(before.path)
    add_whole_file_beside_parts(models / "odd")
    after = cards_of(models)["odd"]
    assert after.ready, after.problem
    assert count_parameters(after.path) == count
    (models / "odd" / "unet" / WEIGHTS).write_bytes(b"nobody reads it")
    load_pipeline(cards_of(models)["odd"])


def test_merging_keeps_the_format_of_the_weights_that_are_loaded(
    models: Path, tmp_path: Path
) -> None:
    add_half_precision(models / "odd")
    lora = write_lora(tmp_path / "lora", models / "odd")
    made = merge_loras(cards_of(models)["odd"], [LoraSource(lora)], tmp_path / "merged")
    merged = load_file(made / "unet" / WEIGHTS)
    assert {tensor.dtype for tensor in merged.values()} == {torch.float32}
    assert [file.name for file in (made / "unet").glob("*.safetensors")] == [WEIGHTS]
    assert Catalog({"merged": made}).get("merged").ready


# Which model it is

CHANGES: dict[str, Damage] = {
    "the sampler": facts(scheduler="euler"),
    "the usual steps": facts(default_steps=4),
    "the playback": facts(playback_fps=10),
    "the noise schedule": schedule(beta_end=0.02),
    "the text layer": lambda f: edit(f / "model_index.json", text_layer="last"),
    "the shared noise": lambda f: edit(f / "model_index.json", shared_noise=0.5),
    "the autoencoder's scale": config("vae", scaling_factor=0.5),
    "the tokenizer": lambda f: edit(f / "tokenizer" / "tokenizer_config.json", pad_token="a"),
    "a weight": lambda f: change_weights(f / "vae" / WEIGHTS, lambda tensor: tensor * 1.5),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_clips_depend_on_is_another_revision(models: Path, change: Damage) -> None:
    found = catalog(models)
    before = found.get("odd")
    assert before.revision == found.get("good").revision
    change(models / "odd")
    after = found.get("odd")
    assert after.ready, after.problem
    assert after.revision != before.revision
    assert catalog(models).get("odd").revision == after.revision


def test_title_and_licence_are_no_other_revision(models: Path) -> None:
    facts(title="Another", licence="mine", name="another")(models / "odd")
    cards = cards_of(models)
    assert cards["odd"].revision == cards["good"].revision
    assert cards["odd"].title == "Another"


def test_the_usual_steps_are_some_that_the_sampler_runs(models: Path) -> None:
    facts(scheduler="ddim-original", default_steps=3)(models / "odd")
    card = cards_of(models)["odd"]
    assert card.ready
    assert card.default_steps == 4  # 3 of 1000 timesteps are no run of the original sampler


def test_a_loaded_model_does_not_change_with_its_files(models: Path) -> None:
    pipeline = load_pipeline(cards_of(models)["odd"])
    networks = [pipeline.unet, pipeline.vae, pipeline.text_encoder]
    before = [{k: v.clone() for k, v in net.state_dict().items()} for net in networks]
    for file in (models / "odd").rglob("*.safetensors"):
        with file.open("r+b") as stream:  # in place, as a copying program does
            size = stream.seek(0, os.SEEK_END)
            stream.seek(size // 2)
            stream.write(b"\x01" * (size - size // 2))
    for net, state in zip(networks, before, strict=True):
        assert all(torch.equal(tensor, state[key]) for key, tensor in net.state_dict().items())


# Whatever is done to a file

VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**30,
    "",
    "../x",
    [],
    {},
    [1],
    {"a": 1},
    CONTROL,
    "\ud800",
]
PIECES = ["[", "}", '"', "NaN", "1e999", "9" * 5000, "\x00", '"\\ud800"', "\ufeff", "null"]


def mutated_json(data: bytes, rng: random.Random) -> bytes:
    """One value of a JSON object replaced or taken out."""
    content = json.loads(data)
    node, key = content, rng.choice(list(content))
    while isinstance(node[key], dict) and node[key] and rng.random() < 0.7:
        node = node[key]
        key = rng.choice(list(node))
    if rng.random() < 0.2:
        del node[key]
    else:
        node[key] = rng.choice(VALUES)
    return json.dumps(content).encode()


def mutated(file: Path, rng: random.Random) -> bytes:
    data = file.read_bytes()
    if file.suffix == ".safetensors":
        end = 8 + int.from_bytes(data[:8], "little")
        header = mutated_json(data[8:end], rng)
        return len(header).to_bytes(8, "little") + header + data[end:]
    if rng.random() < 0.5:
        return mutated_json(data, rng)
    place = rng.randrange(len(data))
    return data[:place] + rng.choice(PIECES).encode() + data[place + rng.randrange(9) :]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_done_to_a_file_costs_one_model(
    models: Path, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    write_lora(models / "drift", models / "good")
    whole = tmp_path / "whole"
    shutil.copytree(models, whole)
    found = catalog(models)
    files = [f for name in ("odd", "drift") for f in sorted((models / name).rglob("*.*"))]
    for _ in range(60):
        file = rng.choice(files)
        file.write_bytes(mutated(file, rng))
        cards = {card.name: card for card in found.cards()}
        assert cards["good"].ready
        for card in cards.values():
            assert card.ready or card.problem
            assert all(
                text.isprintable() for text in (card.title, card.licence, card.problem or "")
            )
        shutil.copyfile(whole / file.relative_to(models), file)
