"""LoRAs on the command line: clips with them, merged folders, and what is told of them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.engine.cli.runner import Cli
from tests.engine.loras import change, write_lora


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], tiny_t2v: Path, tiny_i2v: Path) -> Cli:
    return Cli(capfd, {path.name: path for path in (tiny_t2v, tiny_i2v)})


@pytest.fixture
def lora(tiny_t2v: Path, tmp_path: Path) -> Path:
    return write_lora(tmp_path / "lora", tiny_t2v, scale=0.5)


def clip(cli: Cli, output: Path, *more: object, model: str = "tiny-t2v") -> bytes:
    wanted = ("--prompt=a ball", "--seed=7", "--steps=2", "--device=cpu", "--threads=1")
    code, out, err = cli("generate", f"--model={model}", *wanted, f"--output={output}", *more)
    assert (code, out) == (0, f"{output}\n"), err
    return output.read_bytes()


def test_generate_with_a_lora(cli: Cli, lora: Path, tmp_path: Path) -> None:
    plain = clip(cli, tmp_path / "plain.mp4")
    changed = clip(cli, tmp_path / "changed.mp4", f"--lora={lora}=0.8")
    assert plain != changed
    assert clip(cli, tmp_path / "again.mp4", f"--lora={lora}=0.8") == changed


def test_generate_from_a_picture_with_a_lora(cli: Cli, tiny_i2v: Path, tmp_path: Path) -> None:
    lora = write_lora(tmp_path / "lora", tiny_i2v)
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    picture = f"--image={tmp_path / 'red.png'}"
    assert clip(cli, tmp_path / "c.mp4", picture, f"--lora={lora}", model="tiny-i2v")


def test_a_merged_model_makes_the_clip_that_the_lora_makes(
    cli: Cli, lora: Path, tmp_path: Path
) -> None:
    merged = tmp_path / "merged"
    code, out, err = cli("merge", "tiny-t2v", f"--lora={lora}=0.8", f"--output={merged}")
    assert (code, out) == (0, f"{merged}\n"), err
    assert err == ""
    code, out, _ = cli("models", f"--model-dir=merged={merged}", "--json")
    card = next(card for card in json.loads(out) if card["name"] == "merged")
    assert card["ready"], card["problem"]
    assert (merged / "floor33.json").exists()
    assert not (merged / "README.md").exists()


def test_a_lora_folder_is_listed_and_explained(cli: Cli, lora: Path) -> None:
    code, out, _ = cli("models", f"--model-dir=mine={lora}", "--json")
    card = next(card for card in json.loads(out) if card["name"] == "mine")
    assert (code, card["base"]) == (0, "tiny-t2v")
    assert card["loras"] == [{"path": str(lora), "weight": 1.0}]
    code, out, _ = cli("info", f"--model-dir=mine={lora}", "mine")
    assert code == 0
    assert "the model tiny-t2v" in out
    assert f"{lora}, weight 1" in out


@pytest.mark.parametrize(
    ("value", "words"),
    [("{lora}=9", "between -4 and 4"), ("=1", "PATH or PATH=WEIGHT"), ("{lora}=nan", "between")],
)
def test_wrong_weights_are_wrong_usage(
    cli: Cli, lora: Path, tmp_path: Path, value: str, words: str
) -> None:
    value = value.format(lora=lora)
    code, _, err = cli("merge", "tiny-t2v", f"--lora={value}", f"--output={tmp_path / 'm'}")
    assert code == 2
    assert words in err


def test_what_cannot_be_merged_is_one_line(cli: Cli, lora: Path, tmp_path: Path) -> None:
    target = f"--output={tmp_path / 'new'}"
    code, out, err = cli("merge", "nonesuch", f"--lora={lora}", target)
    assert (code, out, err.count("\n")) == (2, "", 1)
    code, out, err = cli("merge", "tiny-t2v", f"--lora={lora}", f"--output={tmp_path}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "not empty" in err
    for missing in (tmp_path / "none", tmp_path / "a=b"):  # the sign may be part of a name
        code, out, err = cli("merge", "tiny-t2v", f"--lora={missing}", target)
        assert (code, out, err) == (2, "", f"--lora {missing}: there is no such file or folder\n")
    code, out, err = cli("merge", "tiny-i2v", f"--lora={lora}", target)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "was trained on the model tiny-t2v" in err
    assert cli("merge", "tiny-t2v", target)[0] == 2  # no LoRA at all
    assert not (tmp_path / "new").exists()


def test_a_lora_that_breaks_off_while_it_is_loaded_is_told(
    cli: Cli, lora: Path, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(lora, tmp_path / "broken"))
    name = "mid_in__spatial__blocks__0__attn_1__to_q__lora_B"
    change(broken, **{name: torch.full((64, 2), float("inf"))})
    code, _, err = cli(
        "generate", "--model=tiny-t2v", "--prompt=x", "--device=cpu", f"--lora={broken}",
        f"--output={tmp_path / 'c.mp4'}",
    )  # fmt: skip
    assert code == 1
    assert "Traceback" not in err
    assert not (tmp_path / "c.mp4").exists()
