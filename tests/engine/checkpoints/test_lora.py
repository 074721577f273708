"""LoRAs: fused, beside the weights, merged into a folder, and refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from engine.checkpoints import (
    Catalog,
    LoraSource,
    LoraVariant,
    ModelCard,
    ModelLoadError,
    load_lora,
    load_pipeline,
    merge_loras,
    read_lora,
)
from engine.checkpoints.errors import OutputExistsError
from engine.checkpoints.folder.lora import LORA_METADATA, LORA_WEIGHTS
from engine.checkpoints.loading.load import load_unet
from engine.models import VideoUNet
from tests.engine.loras import LAYERS, change, predict, write_lora

ROUNDING = {"rtol": 1e-4, "atol": 2e-5}
"""Float32 sums in another order; the outputs are of the order of 1."""


@pytest.fixture(params=["tiny_t2v", "tiny_i2v"])
def model(request: pytest.FixtureRequest) -> Path:
    folder = request.getfixturevalue(request.param)
    assert isinstance(folder, Path)
    return folder


@pytest.fixture
def lora(tmp_path: Path, model: Path) -> Path:
    return write_lora(tmp_path / "lora", model)


@pytest.fixture
def tiny_lora(tmp_path: Path, tiny_t2v: Path) -> Path:
    return write_lora(tmp_path / "lora", tiny_t2v)


def variant_card(model: Path, *loras: LoraSource) -> ModelCard:
    catalog = Catalog({model.name: model}, variants={"changed": LoraVariant(model.name, loras)})
    return catalog.get("changed")


def unet_of(model: Path, *loras: LoraSource) -> VideoUNet:
    card = variant_card(model, *loras)
    assert card.problem is None
    return load_pipeline(card).unet


def plain_unet(model: Path) -> VideoUNet:
    return load_unet(model / "unet", torch.float32)


def test_it_names_every_attention_layer_and_no_other(model: Path, lora: Path) -> None:
    state = plain_unet(model).state_dict()
    attention = {
        name.removesuffix(".weight")
        for name in state
        if ".attn_" in name and name.endswith(".weight")
    }
    assert {name.rpartition(".")[2] for name in attention} <= set(LAYERS)
    assert any(".temporal." in name or "initial_temporal." in name for name in attention)
    assert read_lora(lora).layers.keys() == attention


def test_one_that_is_not_trained_changes_nothing(model: Path, tmp_path: Path) -> None:
    silent = write_lora(tmp_path / "silent", model, scale=0.0)
    assert torch.equal(predict(unet_of(model, LoraSource(silent))), predict(plain_unet(model)))


def test_fused_beside_and_merged_agree(model: Path, lora: Path, tmp_path: Path) -> None:
    base = predict(plain_unet(model))
    fused = predict(unet_of(model, LoraSource(lora, 0.7)))
    assert (fused - base).abs().max() > 0.05

    beside = plain_unet(model)
    load_lora(beside, lora, weight=0.7, model=model.name)
    torch.testing.assert_close(predict(beside), fused, **ROUNDING)

    card = Catalog({model.name: model}).get(model.name)
    merged = merge_loras(card, [LoraSource(lora, 0.7)], tmp_path / "merged")
    assert torch.equal(predict(plain_unet(merged)), fused)
    assert "lora" not in "".join(plain_unet(merged).state_dict())


def test_fusing_leaves_a_plain_network_behind(model: Path, lora: Path) -> None:
    unet = unet_of(model, LoraSource(lora))
    assert unet.state_dict().keys() == plain_unet(model).state_dict().keys()
    assert not any(parameter.requires_grad for parameter in unet.parameters())
    assert not unet.training


def test_keys_and_values_that_are_computed_ahead_go_through_it(model: Path, lora: Path) -> None:
    unet, text = plain_unet(model), torch.randn(1, 77, 16)
    before = unet.precompute_context(text).layers[0][0].key
    load_lora(unet, lora)
    after = unet.precompute_context(text).layers[0][0].key
    assert (after - before).abs().max() > 1e-3


def test_the_weight_scales_the_update(model: Path, lora: Path) -> None:
    plain = plain_unet(model).state_dict()

    def update(weight: float) -> dict[str, torch.Tensor]:
        state = unet_of(model, LoraSource(lora, weight)).state_dict()
        return {name: state[name] - plain[name] for name in plain}

    nothing, one, half, back = update(0.0), update(1.0), update(0.5), update(-1.0)
    changed = {name for name in plain if one[name].any()}
    assert {name.removesuffix(".weight") for name in changed} == read_lora(lora).layers.keys()
    for name in plain:
        assert not nothing[name].any()
        torch.testing.assert_close(half[name], one[name] / 2, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(back[name], -one[name], rtol=1e-3, atol=1e-6)


def test_the_update_is_alpha_over_rank_times_the_product(model: Path, lora: Path) -> None:
    name = "mid_in.spatial.blocks.0.attn_1.to_q"
    held = load_file(lora / LORA_WEIGHTS)
    product = held[f"{name}.lora_B.weight"] @ held[f"{name}.lora_A.weight"]
    update = (
        unet_of(model, LoraSource(lora)).state_dict()[f"{name}.weight"]
        - plain_unet(model).state_dict()[f"{name}.weight"]
    )
    torch.testing.assert_close(update, 4 / 2 * product, rtol=1e-3, atol=1e-6)


def test_several_add_up(tiny_t2v: Path, tmp_path: Path) -> None:
    first = write_lora(tmp_path / "first", tiny_t2v, seed=1)
    second = write_lora(tmp_path / "second", tiny_t2v, seed=2)
    plain = plain_unet(tiny_t2v).state_dict()
    one, two = (unet_of(tiny_t2v, LoraSource(path)).state_dict() for path in (first, second))
    both = unet_of(tiny_t2v, LoraSource(first), LoraSource(second, 0.5)).state_dict()
    for name, weight in plain.items():
        expected = one[name] + (two[name] - weight) * 0.5
        torch.testing.assert_close(both[name], expected, rtol=1e-3, atol=1e-6)


def test_adapters_beside_the_weights_keep_their_weights(tiny_t2v: Path, tmp_path: Path) -> None:
    first = write_lora(tmp_path / "first", tiny_t2v, seed=1)
    second = write_lora(tmp_path / "second", tiny_t2v, seed=2)
    unet = plain_unet(tiny_t2v)
    base = predict(unet)
    load_lora(unet, first, name="one", weight=0.5)
    load_lora(unet, second, name="two", weight=-0.5)
    expected = unet_of(tiny_t2v, LoraSource(first, 0.5), LoraSource(second, -0.5))
    torch.testing.assert_close(predict(unet), predict(expected), **ROUNDING)
    with pytest.raises(ValueError, match="'two' already"):
        load_lora(unet, second, name="two")
    unet.delete_adapters(["one", "two"])
    torch.testing.assert_close(predict(unet), base, **ROUNDING)


def test_the_methods_of_diffusers_load_the_same(tiny_t2v: Path, tiny_lora: Path) -> None:
    expected = predict(unet_of(tiny_t2v, LoraSource(tiny_lora)))
    pipeline = load_pipeline(Catalog({"base": tiny_t2v}).get("base"))
    pipeline.unet.load_lora_adapter(tiny_lora, prefix=None, use_safetensors=True)
    torch.testing.assert_close(predict(pipeline.unet), expected, **ROUNDING)


def test_names_with_the_pipelines_prefix_are_the_same_lora(
    tiny_t2v: Path, tiny_lora: Path, tmp_path: Path
) -> None:
    with safe_open(tiny_lora / LORA_WEIGHTS, "pt") as held:
        settings = json.loads(held.metadata()["lora_adapter_metadata"])
        tensors = {f"unet.{name}": held.get_tensor(name) for name in held.keys()}  # noqa: SIM118
    prefixed = tmp_path / "prefixed.safetensors"
    text = json.dumps({f"unet.{key}": value for key, value in settings.items()})
    save_file(tensors, prefixed, metadata={"format": "pt", "lora_adapter_metadata": text})
    assert torch.equal(
        predict(unet_of(tiny_t2v, LoraSource(prefixed))),
        predict(unet_of(tiny_t2v, LoraSource(tiny_lora))),
    )
    pipeline = load_pipeline(Catalog({"base": tiny_t2v}).get("base"))
    pipeline.load_lora_weights(tmp_path, weight_name=prefixed.name)
    torch.testing.assert_close(
        predict(pipeline.unet), predict(unet_of(tiny_t2v, LoraSource(prefixed))), **ROUNDING
    )


def test_half_precision_models_take_it(tiny_t2v: Path, tiny_lora: Path) -> None:
    pipeline = load_pipeline(variant_card(tiny_t2v, LoraSource(tiny_lora)), dtype=torch.bfloat16)
    assert {p.dtype for p in pipeline.unet.parameters()} == {torch.bfloat16}
    exact = predict(unet_of(tiny_t2v, LoraSource(tiny_lora)))
    torch.testing.assert_close(predict(pipeline.unet.float()), exact, rtol=0.05, atol=0.1)


# What the catalogue says


def test_a_variant_is_a_model_of_its_own(tiny_t2v: Path, tiny_lora: Path) -> None:
    base = Catalog({"tiny-t2v": tiny_t2v}).get("tiny-t2v")
    card = variant_card(tiny_t2v, LoraSource(tiny_lora, 0.8))
    assert card.ready
    assert (card.name, card.base, card.task) == ("changed", "tiny-t2v", "text-to-video")
    assert card.title == "A tiny model + Something else (0.8)"
    assert card.licence == "CC0-1.0 and CC-BY-4.0"
    assert (card.width, card.num_frames, card.scheduler) == (32, 4, "dpm++2m")
    other_weight = variant_card(tiny_t2v, LoraSource(tiny_lora, 0.7))
    assert len({base.revision, card.revision, other_weight.revision}) == 3
    assert variant_card(tiny_t2v, LoraSource(tiny_lora, 0.8)).revision == card.revision


def test_a_retrained_lora_is_another_revision(tiny_t2v: Path, tiny_lora: Path) -> None:
    sources = (LoraSource(tiny_lora),)
    catalog = Catalog({"tiny-t2v": tiny_t2v}, variants={"v": LoraVariant("tiny-t2v", sources)})
    before = catalog.get("v").revision
    write_lora(tiny_lora, tiny_t2v, seed=5)
    assert catalog.get("v").revision != before
    (tiny_lora / LORA_WEIGHTS).write_bytes(b"not that")
    assert "no safetensors file" in (catalog.get("v").problem or "")


def test_a_lora_folder_among_the_models_is_a_model(
    tiny_t2v: Path, tiny_lora: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    shutil.copytree(tiny_lora, models / "mine")
    stated = json.loads((models / "mine" / LORA_METADATA).read_text())
    (models / "mine" / LORA_METADATA).write_text(json.dumps(stated | {"weight": 0.25}))
    catalog = Catalog({"tiny-t2v": tiny_t2v}, models_dir=models)
    card = catalog.get("mine")
    assert card.problem is None
    assert card.loras == (LoraSource(models / "mine", 0.25),)
    assert card.title.endswith("(0.25)")
    (models / "mine" / LORA_METADATA).write_text(json.dumps(stated | {"weight": 5}))
    problem = catalog.get("mine").problem or ""
    assert "weight" in problem
    assert "less than or equal to 4" in problem


@pytest.mark.parametrize("weight", [4.1, -5.0, float("nan"), float("inf")])
def test_a_weight_out_of_range_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="between -4 and 4"):
        LoraSource(Path("x"), weight)


# What is refused


def problem_of(model: Path, lora: Path, base: str | None = None) -> str:
    variant = LoraVariant(base or model.name, (LoraSource(lora),))
    card = Catalog({model.name: model}, variants={"v": variant}).get("v")
    assert not card.ready
    with pytest.raises(ModelLoadError, match="not ready"):
        load_pipeline(card)
    assert card.problem is not None
    assert "\n" not in card.problem
    return card.problem


def test_a_missing_file(tiny_t2v: Path, tmp_path: Path) -> None:
    assert "does not exist" in problem_of(tiny_t2v, tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "no .safetensors file" in problem_of(tiny_t2v, tmp_path / "empty")


def test_a_pickle_is_never_opened(tiny_t2v: Path, tmp_path: Path) -> None:
    torch.save({}, tmp_path / "lora.bin")
    assert "no .safetensors file" in problem_of(tiny_t2v, tmp_path / "lora.bin")


def test_an_unknown_or_broken_base(tiny_t2v: Path, tiny_lora: Path, tmp_path: Path) -> None:
    assert "'nonesuch' is not known" in problem_of(tiny_t2v, tiny_lora, "nonesuch")
    broken = shutil.copytree(tiny_t2v, tmp_path / "tiny-t2v")
    (broken / "floor33.json").unlink()
    assert "base model tiny-t2v is not ready" in problem_of(broken, tiny_lora)


def test_a_lora_for_another_model(tiny_i2v: Path, tiny_lora: Path, tmp_path: Path) -> None:
    assert "was trained on the model tiny-t2v, not tiny-i2v" in problem_of(tiny_i2v, tiny_lora)
    other = write_lora(tmp_path / "image", tiny_i2v, facts=False)
    variant = {"v": LoraVariant("demo-t2v", (LoraSource(other),))}
    assert "does not fit the model demo-t2v" in (Catalog(variants=variant).get("v").problem or "")


def test_the_same_weights_under_another_name_are_welcome(tiny_t2v: Path, tiny_lora: Path) -> None:
    revision = Catalog({"renamed": tiny_t2v}).get("renamed").revision
    stated = json.loads((tiny_lora / LORA_METADATA).read_text())
    (tiny_lora / LORA_METADATA).write_text(json.dumps(stated | {"base_revision": revision}))
    variant = LoraVariant("renamed", (LoraSource(tiny_lora),))
    assert Catalog({"renamed": tiny_t2v}, variants={"v": variant}).get("v").problem is None


QUERY = "mid_in__spatial__blocks__0__attn_1__to_q__lora_"


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({QUERY + "A": None}, "do not belong together: missing and 64x2"),
        ({QUERY + "A": torch.zeros(3, 64)}, "do not belong together: 3x64 and 64x2"),
        ({QUERY + "A": torch.zeros(2, 60)}, "mid_in.spatial.blocks.0.attn_1.to_q is 64x64 there"),
        (
            {QUERY + "A": torch.zeros(3, 64), QUERY + "B": torch.zeros(64, 3)},
            "has the rank 3, the LoRA 2",
        ),
    ],
)
def test_tensors_that_do_not_fit(
    tiny_t2v: Path, tiny_lora: Path, tensors: dict[str, torch.Tensor | None], words: str
) -> None:
    change(tiny_lora, **tensors)
    assert words in problem_of(tiny_t2v, tiny_lora)


def test_another_layout_is_named(tiny_t2v: Path, tmp_path: Path) -> None:
    save_file(
        {"text_encoder.q.lora_A.weight": torch.ones(2, 2), "x.alpha": torch.ones(1)},
        tmp_path / "other.safetensors",
    )
    assert "it holds the tensor x.alpha" in problem_of(tiny_t2v, tmp_path / "other.safetensors")


@pytest.mark.parametrize("key", ["use_dora", "rank_pattern"])
def test_other_kinds_of_adapter_are_refused(tiny_t2v: Path, tiny_lora: Path, key: str) -> None:
    file = tiny_lora / LORA_WEIGHTS
    metadata = {"lora_adapter_metadata": json.dumps({key: {"a": 1}})}
    save_file(load_file(file), file, metadata=metadata)
    assert f"{key} is not supported" in problem_of(tiny_t2v, tiny_lora)


def test_values_that_are_no_numbers_are_found_when_it_is_loaded(
    tiny_t2v: Path, tiny_lora: Path
) -> None:
    change(tiny_lora, **{QUERY + "B": torch.full((64, 2), float("nan"))})
    with pytest.raises(ModelLoadError, match=r"to_q\.lora_B\.weight holds values"):
        load_pipeline(variant_card(tiny_t2v, LoraSource(tiny_lora)))


# Merging


def test_a_merged_folder_is_a_model_that_names_its_parts(
    tiny_t2v: Path, tiny_lora: Path, tmp_path: Path
) -> None:
    base = Catalog({"tiny-t2v": tiny_t2v}).get("tiny-t2v")
    folder = merge_loras(base, [LoraSource(tiny_lora, 0.5)], tmp_path / "out" / "merged")
    card = Catalog({"merged": folder}).get("merged")
    assert card.problem is None
    assert card.title == "A tiny model + Something else (0.5)"
    assert card.licence == "CC0-1.0 and CC-BY-4.0"
    assert card.revision != base.revision
    made_from = json.loads((folder / "floor33.json").read_text())["made_from"]
    assert (made_from["model"], made_from["revision"]) == ("tiny-t2v", base.revision)
    assert made_from["loras"][0]["weight"] == 0.5
    written = json.loads((folder / "unet" / "config.json").read_text())
    assert written == json.loads((tiny_t2v / "unet" / "config.json").read_text())
    assert [path.name for path in folder.parent.iterdir()] == ["merged"]


def test_a_merged_model_keeps_the_number_format(
    tiny_t2v: Path, tiny_lora: Path, tmp_path: Path
) -> None:
    half = shutil.copytree(tiny_t2v, tmp_path / "tiny-t2v")
    plain_unet(half).half().save_pretrained(half / "unet")
    card = Catalog({"tiny-t2v": half}).get("tiny-t2v")
    folder = merge_loras(card, [LoraSource(tiny_lora)], tmp_path / "merged")
    weights = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}


def test_merging_refuses_what_it_must_not_overwrite_or_cannot_do(
    tiny_t2v: Path, tiny_lora: Path, tmp_path: Path
) -> None:
    card = Catalog({"tiny-t2v": tiny_t2v}).get("tiny-t2v")
    used = tmp_path / "used"
    used.mkdir()
    (used / "mine.txt").write_text("keep")
    with pytest.raises(OutputExistsError, match="not empty"):
        merge_loras(card, [LoraSource(tiny_lora)], used)
    variant = variant_card(tiny_t2v, LoraSource(tiny_lora))
    with pytest.raises(ModelLoadError, match="without LoRAs"):
        merge_loras(variant, [LoraSource(tiny_lora)], tmp_path / "new")
    change(tiny_lora, **{QUERY + "A": torch.zeros(2, 60)})
    with pytest.raises(ModelLoadError, match="does not fit"):
        merge_loras(card, [LoraSource(tiny_lora)], tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".*partial"))
