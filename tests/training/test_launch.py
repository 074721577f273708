"""Several processes: they train together, end together, and fail with one line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.line import Line, newest, recipe
from training.cli import main
from training.loop.checkpoint import checkpoint_folders
from training.loop.run_folder import locked
from training.loop.train import run

SMALL = """
name = "small"
[stage]
kind = "vae"
block_channels = [16, 16]
[optimisation]
steps = {steps}
batch_size = 4
learning_rate = 1e-3
[bookkeeping]
log_every = 1
evaluate_every = 1000000
save_every = 1000000
"""


def write(folder: Path, text: str) -> str:
    path = folder / "small.toml"
    path.write_text(text)
    return str(path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch_two(*arguments: str) -> list[int]:
    """Start two processes as a launcher would, by the environment alone."""
    port = str(free_port())
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "LOCAL_WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "OMP_NUM_THREADS": "1",
            },
        )
        for rank in range(2)
    ]
    try:
        return [process.wait(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_two_processes_equal_one_with_two_passes_and_resume_exactly(
    tmp_path: Path, mode: str
) -> None:
    assert launch_two("tests.training.line", str(tmp_path), mode) == [0, 0]
    alone = recipe(accumulate=2)
    run(Line(alone), alone, tmp_path / "alone")
    for part in ("model.safetensors", "average.safetensors"):
        whole = load_file(newest(tmp_path / "whole") / part)
        resumed = load_file(newest(tmp_path / "parts") / part)
        expected = load_file(newest(tmp_path / "alone") / part)
        for name, tensor in whole.items():
            assert torch.equal(resumed[name], tensor), name
            torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)
    first, second = (
        [json.loads(line) for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]
        for run in ("whole", "alone")
    )
    assert [line["loss"] for line in first] == pytest.approx(
        [line["loss"] for line in second], rel=1e-5
    )
    assert first[-1]["answer"] == pytest.approx(second[-1]["answer"], rel=1e-5)


def test_processes_started_here_save_when_told_to_end(tmp_path: Path) -> None:
    arguments = ["run", write(tmp_path, SMALL.format(steps=100_000))]
    arguments += ["--output", str(tmp_path / "run"), "--processes", "2"]
    running = subprocess.Popen([sys.executable, "-m", "training", *arguments])
    try:
        log = tmp_path / "run" / "log.jsonl"
        deadline = time.monotonic() + 300
        while not log.exists():
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        running.terminate()
        assert running.wait(timeout=120) == 0
    finally:
        running.kill()
    state = json.loads((newest(tmp_path / "run") / "state.json").read_text())
    assert 0 < state["step"] < 100_000


def test_an_error_of_a_child_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", write(tmp_path, SMALL.format(steps=1)), "--output", str(tmp_path / "run")]
    assert main(arguments) == 0
    (newest(tmp_path / "run") / "optimizer.pt").write_bytes(b"half")
    capfd.readouterr()
    assert main([*arguments, "--processes", "2"]) == 1
    error = capfd.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("training:")]
    assert len(lines) == 1
    assert "step-000001 is damaged" in lines[0]
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("old", "new", "extra", "words"),
    [
        ("steps = 1", "steps = 1", ["--processes", "3"], "batch of 4 does not divide by 3"),
        ("batch_size = 4", "batch_size = 4\naccumulate = 8", [], "1 processes x 8 passes"),
        ("[16, 16]", "[10, 10]", [], "small"),
        (
            'kind = "vae"\nblock_channels = [16, 16]',
            'kind = "text-to-video"\nvae = "nowhere/model"\ntowers = "t"',
            [],
            "stage.vae: nowhere/model does not exist",
        ),
    ],
)
def test_what_cannot_run_is_one_line_and_exit_code_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    old: str,
    new: str,
    extra: list[str],
    words: str,
) -> None:
    path = write(tmp_path, SMALL.format(steps=1).replace(old, new))
    assert main(["run", path, "--output", str(tmp_path / "run"), *extra]) == 2
    error = capsys.readouterr().err
    assert error.startswith("training: ")
    assert words in error
    assert error.count("\n") == 1
    assert checkpoint_folders(tmp_path / "run") == []


def test_a_folder_in_use_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, SMALL.format(steps=1))
    with locked(tmp_path / "run"):
        assert main(["run", path, "--output", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("training: another run is writing into")
    assert error.count("\n") == 1
