"""Why a clip failed is told to who asked for it on the command line, who is the operator."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cli.failures import explain_failure
from engine.serving import FailureReason, JobFailed
from engine.serving.execution.failures import failure_of
from engine.serving.media.ffmpeg import EncodeError
from tests.engine.cli.runner import Cli


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], tiny_t2v: Path) -> Cli:
    return Cli(capfd, {"tiny-t2v": tiny_t2v})


def generate(cli: Cli, output: Path, *more: str) -> tuple[int, str, str]:
    given = ["--model=tiny-t2v", "--prompt=a", "--steps=1", "--device=cpu", f"--output={output}"]
    return cli("generate", *given, *more)


def test_an_encoder_that_fails_is_quoted(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = tmp_path / "ffmpeg"
    encoder.write_text("#!/bin/sh\necho 'no such encoder: libx264' >&2\nexit 3\n")
    encoder.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(encoder))
    code, out, err = generate(cli, tmp_path / "clip.mp4")
    assert (code, out) == (1, "")
    assert "no such encoder: libx264" in err.splitlines()[-1]
    assert "logged" not in err


@pytest.mark.parametrize(
    "error", [ValueError("three is no crowd"), EncodeError("ffmpeg ended with code 3: three is no")]
)
def test_nothing_is_said_to_be_logged(error: Exception) -> None:
    failed = failure_of(error, "clip")
    told = explain_failure(JobFailed(failed.reason, failed.message, failed.detail))
    assert "three is no" in told
    assert "logged" not in told
    assert "--verbose" in told


@pytest.mark.parametrize("reason", list(FailureReason))
def test_every_reason_is_one_sentence(reason: FailureReason) -> None:
    told = explain_failure(JobFailed(reason, "The message.", "the\ndetail"))
    assert told.endswith(".")
    assert "\n" not in told


def test_float16_on_a_cpu_is_said_to_be_slower(cli: Cli, tmp_path: Path) -> None:
    code, _, err = generate(cli, tmp_path / "clip.mp4", "--precision=float16")
    assert code == 0, err
    assert "--precision float16 is slower than float32 on cpu" in err
    assert "cannot run with" not in err
    assert "\r" not in err
