"""The table of published models, and how the catalogue offers them."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from engine.checkpoints import PUBLISHED, Catalog, PublishedModel, expected_tensors, install_model
from engine.checkpoints.hub.client import Hub
from engine.checkpoints.original.presets import PRESETS
from engine.checkpoints.original.sizes import working_sizes


def test_the_published_models_are_the_presets() -> None:
    assert set(PUBLISHED) == set(PRESETS)
    assert len({model.hub_repo for model in PUBLISHED.values()}) == len(PUBLISHED)
    for name, model in PUBLISHED.items():
        assert model.name == name
        assert model.preset is PRESETS[name]
        assert "non-commercial" in model.offer
        assert model.hub_repo in model.offer


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_announced_size_is_that_of_the_tensors(name: str) -> None:
    tensors = expected_tensors(name).values()
    assert PUBLISHED[name].download_bytes == 4 * sum(math.prod(shape) for shape in tensors)


def test_the_catalogue_offers_what_is_not_installed(
    tiny: PublishedModel, hub: Hub, models_dir: Path, tmp_path: Path
) -> None:
    catalog = Catalog(shipped=tmp_path / "none", models_dir=models_dir, published={"tiny": tiny})
    offered = catalog.get("tiny")
    assert (offered.installed, offered.ready) == (False, False)
    assert offered.problem == "It is not installed: python -m engine install tiny"
    install_model(tiny, models_dir, hub=hub)
    installed = catalog.get("tiny")
    assert (installed.installed, installed.ready) == (True, True)
    # What was said beforehand was true.
    assert offered == replace(
        installed, installed=False, ready=False, problem=offered.problem, revision="", origin=None
    )


def test_the_catalogue_finds_folders_and_passes_over_the_rest(
    tiny: PublishedModel, hub: Hub, models_dir: Path, tmp_path: Path
) -> None:
    install_model(tiny, models_dir, hub=hub)
    (models_dir / "tiny").rename(models_dir / "renamed")
    (models_dir / "notes").mkdir()
    (models_dir / "damaged").mkdir()
    (models_dir / "damaged" / "model_index.json").write_text("{}")
    catalog = Catalog(shipped=tmp_path / "none", models_dir=models_dir, published={})
    assert [(card.name, card.ready) for card in catalog.cards()] == [
        ("damaged", False),
        ("renamed", True),
    ]


def test_a_folder_in_the_settings_replaces_the_offer(tiny_t2v: Path, models_dir: Path) -> None:
    card = Catalog({"t2v-1024": tiny_t2v}, models_dir=models_dir).get("t2v-1024")
    assert (card.installed, card.ready, card.path) == (True, True, tiny_t2v)


def test_without_a_models_folder_nothing_is_offered() -> None:
    assert not set(PUBLISHED) & {card.name for card in Catalog().cards()}


def test_sizes_of_the_published_models() -> None:
    for name, model in PUBLISHED.items():
        facts = model.facts
        assert (facts.width, facts.height) in facts.sizes
        assert (facts.height, facts.width) in facts.sizes
        assert (256, 256) in facts.sizes
        assert all(side % 64 == 0 and side >= 256 for size in facts.sizes for side in size), name
        assert max(width * height for width, height in facts.sizes) == facts.width * facts.height
    assert (512, 320) in PUBLISHED["t2v-1024"].facts.sizes
    assert (1024, 576) not in PUBLISHED["t2v-512"].facts.sizes


@pytest.mark.parametrize(
    ("native", "divisor", "sizes"),
    [
        ((64, 64), 64, [(64, 64)]),
        ((48, 32), 16, [(48, 32), (32, 48), (32, 32)]),
        ((512, 128), 128, [(256, 256), (256, 128), (128, 256), (128, 128)]),
    ],
)
def test_sizes_of_other_models(
    native: tuple[int, int], divisor: int, sizes: list[tuple[int, int]]
) -> None:
    assert list(working_sizes(*native, divisor)) == sizes


@pytest.mark.parametrize(
    ("name", "fps"), [("t2v-1024", 16), ("t2v-512", 8), ("i2v-512", 8), ("t2v-512-v2", 28)]
)
def test_rates_are_those_that_the_authors_use(name: str, fps: int) -> None:
    facts = PUBLISHED[name].facts
    assert facts.default_fps == fps
    assert fps in facts.fps
