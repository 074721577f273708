"""LoRAs in the settings: read, refused, offered in /imagine, and told of by the doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bot.__main__ import main
from bot.settings import LoraSettings, Settings, SettingsError
from bot.settings.allowed import allowed_words
from bot.settings.engine import engine_settings
from engine.checkpoints import LoraSource, LoraVariant
from tests.bot.conftest import World
from tests.engine.loras import write_lora

BOT_TOML = (Path(__file__).resolve().parents[2] / "bot.toml").read_text(encoding="utf-8")


@pytest.fixture
def overrides(overrides: dict[str, Any], models: Path, tmp_path: Path) -> dict[str, Any]:
    """Two variants: one that works, one whose file is missing."""
    lora = write_lora(tmp_path / "lora", models / "tiny-t2v")
    overrides["models"]["loras"] = {
        "tiny-else": {"base": "tiny-t2v", "path": str(lora), "weight": 0.5},
        "tiny-gone": {"base": "tiny-t2v", "path": str(tmp_path / "gone")},
    }
    return overrides


def test_a_table_becomes_a_variant(tmp_path: Path) -> None:
    file = tmp_path / "etc" / "bot.toml"
    file.parent.mkdir()
    file.write_text(
        '[models.loras.neon]\nbase = "demo-t2v"\npath = "loras/neon"\nweight = 0.8\n'
        "[models.options.demo-t2v]\nvae_slicing = true\n"
    )
    settings = engine_settings(Settings.load(file))
    source = LoraSource(tmp_path / "etc" / "loras" / "neon", 0.8)
    assert settings.model_variants == {"neon": LoraVariant("demo-t2v", (source,))}
    assert settings.options_of("neon").vae_slicing  # as its base model


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        ({"weight": 4.5}, "weight", "a number from -4 to 4"),
        ({"weight": "much"}, "weight", "a number from -4 to 4"),
        ({"path": " "}, "path", "the path of a .safetensors file or a folder"),
        ({"path": None}, "path", "missing; allowed: the path of"),
        ({"base": None}, "base", "missing; allowed: a model's name"),
        ({"base": "No Name"}, "base", "a model's name"),
        ({"strength": 1}, "strength", 'unknown setting "models.loras.neon.strength"'),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], key: str, words: str) -> None:
    table = {"base": "demo-t2v", "path": "x"} | change
    table = {name: value for name, value in table.items() if value is not None}
    with pytest.raises(SettingsError) as caught:
        Settings.load(None, {"models": {"loras": {"neon": table}}})
    assert caught.value.key == f"models.loras.neon.{key}"
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bot_toml_documents_the_table() -> None:
    lines = BOT_TOML.splitlines()
    start = lines.index("# [models.loras.demo-drift]")
    for name, field in LoraSettings.model_fields.items():
        place = next(i for i in range(start, len(lines)) if lines[i].startswith(f"# {name} = "))
        assert lines[place - 1] == f"# Allowed: {allowed_words(field)}"


async def test_a_variant_is_offered_and_makes_clips(world: World) -> None:
    choices = await world.alice.autocomplete(world.channel, "imagine", "model", "tiny")
    names = {choice["value"]: choice["name"] for choice in choices}
    assert names["tiny-else"] == "A tiny model + Something else (0.5) (tiny-else)"
    assert "tiny-gone" not in names
    result = await world.alice.slash(
        world.channel, "imagine", prompt="a cat", seed=1, steps=2, model="tiny-else"
    )
    message = await world.clip(result.response.id)
    (embed,) = message.embeds
    shown = {field.name: field.value for field in embed.fields}
    assert shown["Model"] == "tiny-else"


def test_the_doctor_tells_of_variants(
    overrides: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lora, gone = overrides["models"]["loras"].values()
    extra = overrides["models"]["extra"]
    config = tmp_path / "bot.toml"
    config.write_text(
        f'data_dir = "{overrides["data_dir"]}"\n[engine]\ndevices = ["cpu"]\n[models]\n'
        'text_to_video = "tiny-t2v"\nimage_to_video = "tiny-i2v"\n'
        f'[models.extra]\ntiny-t2v = "{extra["tiny-t2v"]}"\ntiny-i2v = "{extra["tiny-i2v"]}"\n'
        f'[models.loras.tiny-else]\nbase = "tiny-t2v"\npath = "{lora["path"]}"\n'
        f'[models.loras.tiny-gone]\nbase = "tiny-t2v"\npath = "{gone["path"]}"\n'
    )
    main(["--config", str(config), "doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    found = {check["name"]: check for check in report["checks"]}
    assert "Something else (1)" in json.dumps(found["model tiny-else"])
    assert "does not exist" in json.dumps(found["model tiny-gone"])
