"""One model folder that is not as it should be takes the others, and the bot, from nobody.

Discord takes choices of 1 to 100 characters and refuses the whole list for one that is longer.
Kinds seen elsewhere: Discord.Net#3182, cadence-discord-bot#133, statsify#830.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot.__main__ import main
from bot.settings import Settings
from tests.bot.conftest import make_world

INDEX = Path("unet") / "diffusion_pytorch_model.safetensors.index.json"


def index_of_lists(folder: Path) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": {"conv_in.weight": ["a"]}}))


def facts_without_an_end(folder: Path) -> None:
    (folder / "floor33.json").write_text('{"a":' * 100_000)


def pipe_for_facts(folder: Path) -> None:
    (folder / "floor33.json").unlink()
    os.mkfifo(folder / "floor33.json")


DAMAGES = [index_of_lists, facts_without_an_end, pipe_for_facts]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_imagine_works_beside_a_broken_folder(
    overrides: dict[str, Any], models: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """It appears while the bot runs, as a download does that somebody unpacks there."""
    async with make_world(Settings.load(overrides=overrides)) as world:
        odd = tmp_path / "data" / "models" / "odd"
        shutil.copytree(models / "tiny-t2v", odd)
        damage(odd)
        message = await world.imagine("a cat", steps=2)
        assert message.attachments


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_doctor_tells_of_a_broken_folder(
    models: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    odd = tmp_path / "data" / "models" / "odd"
    shutil.copytree(models / "tiny-t2v", odd)
    damage(odd)
    monkeypatch.setenv("FLOOR33_DATA_DIR", str(tmp_path / "data"))
    main(["doctor", "--json"])
    told = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert told["model odd"]["status"] == "warn"


NAMES = [b"x" * 130, "sch\xf6n".encode("latin-1"), b"a\nb", "\u202egnp".encode(), b"plain-name"]


@pytest.mark.parametrize("name", NAMES)
async def test_the_models_can_be_chosen_beside_any_folders_name(
    overrides: dict[str, Any], models: Path, tmp_path: Path, name: bytes
) -> None:
    async with make_world(Settings.load(overrides=overrides)) as world:
        folder = os.path.join(os.fsencode(tmp_path / "data" / "models"), name)
        shutil.copytree(os.fsencode(models / "tiny-t2v"), folder)
        offered = await world.alice.autocomplete(world.channel, "imagine", "model", "")
        values = [choice["value"] for choice in offered]
        assert "tiny-t2v" in values
        assert ("plain-name" in values) == (name == b"plain-name")
        for choice in offered:
            for text in (choice["name"], choice["value"]):
                assert 1 <= len(text) <= 100
                assert text.isprintable()
        result = await world.alice.slash(world.channel, "imagine", prompt="a cat", model="none")
        said = [a.content for a in [result.response, *result.followups] if a is not None]
        assert any("Known models" in text and text.isprintable() for text in said), said


async def test_a_title_cannot_fill_the_list(
    overrides: dict[str, Any], models: Path, tmp_path: Path
) -> None:
    async with make_world(Settings.load(overrides=overrides)) as world:
        folder = tmp_path / "data" / "models" / ("long-" + "x" * 50)
        shutil.copytree(models / "tiny-t2v", folder)
        facts = json.loads((folder / "floor33.json").read_text()) | {"title": "\U0001f3ac\n" * 40}
        (folder / "floor33.json").write_text(json.dumps(facts))
        offered = await world.alice.autocomplete(world.channel, "imagine", "model", "")
        assert folder.name in [choice["value"] for choice in offered]
        for choice in offered:
            assert len(choice["name"].encode("utf-16-le")) // 2 <= 100
            assert choice["name"].isprintable()
