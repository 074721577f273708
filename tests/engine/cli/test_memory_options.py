"""The memory options of ``python -m engine generate``."""

from pathlib import Path
from typing import get_args

import pytest

from engine.__main__ import main
from engine.cli import memory
from engine.settings import AttentionChoice, Offload, Precision


def generate(folder: Path, output: Path, *options: str) -> int:
    given = [f"--model-dir=tiny={folder}", "--model=tiny", "--prompt=a red ball", "--seed=7"]
    given += ["--steps=2", "--device=cpu", "--threads=1", f"--output={output}", *options]
    try:
        return main(["generate", *given])
    except SystemExit as end:  # how argparse refuses
        return int(end.code or 0)


def test_the_command_line_offers_what_the_engine_knows() -> None:
    assert get_args(Precision) == memory.PRECISIONS
    assert get_args(Offload) == memory.OFFLOADS
    assert get_args(AttentionChoice) == memory.ATTENTIONS


def test_options_that_save_memory_make_a_clip(
    tiny_t2v: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "clip.mp4"
    options = ["--vae-slicing", "--vae-tiling", "--attention=sliced", "--precision=bfloat16"]
    assert generate(tiny_t2v, output, *options) == 0
    assert output.is_file()
    assert "ignored" not in capfd.readouterr().err


def test_what_needs_a_gpu_is_told_and_ignored(
    tiny_t2v: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plain, offloaded = tmp_path / "plain.mp4", tmp_path / "offloaded.mp4"
    assert generate(tiny_t2v, plain) == 0
    assert generate(tiny_t2v, offloaded, "--offload=group") == 0
    assert "--offload needs a CUDA GPU and is ignored on cpu\n" in capfd.readouterr().err
    assert plain.read_bytes() == offloaded.read_bytes()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--offload=disk"], "invalid choice: 'disk'"),
        (["--precision=int8"], "invalid choice: 'int8'"),
        (["--offload=model", "--compile"], 'compile: cannot go with offload = "model"'),
    ],
)
def test_impossible_options_are_wrong_usage(
    tiny_t2v: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    options: list[str],
    text: str,
) -> None:
    assert generate(tiny_t2v, tmp_path / "clip.mp4", *options) == 2
    err = capfd.readouterr().err
    assert text in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
