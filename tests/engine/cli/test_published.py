"""``python -m engine install`` and ``info``, with a model hub on this machine."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.__main__ import main
from engine.checkpoints import PUBLISHED
from tests.engine.checkpoints.loopback_hub import COMMIT, OLD_COMMIT, LoopbackHub, serving

ROOT = Path(__file__).resolve().parents[3]
CONTENT = random.Random(1).randbytes(400_000)
NAME = "t2v-512"
REPO = PUBLISHED[NAME].hub_repo


@pytest.fixture
def loopback() -> Iterator[LoopbackHub]:
    with serving() as hub:
        hub.put(REPO, "model.ckpt", CONTENT)  # large enough to be interrupted, and no checkpoint
        yield hub


def command(
    loopback: LoopbackHub, tmp_path: Path, *arguments: str, **environment: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "engine", "install", *arguments],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HF_ENDPOINT": loopback.address,
            "HF_HOME": str(tmp_path / "hf"),
            "FLOOR33_DATA_DIR": str(tmp_path / "data"),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def install(
    loopback: LoopbackHub, tmp_path: Path, *arguments: str, **environment: str
) -> tuple[int, str]:
    """Exit code and stderr of a command that fails."""
    process = command(loopback, tmp_path, *arguments, **environment)
    out, err = process.communicate(timeout=300)
    assert out == ""
    assert "Traceback" not in err
    return process.returncode, err


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_says_how_to_go_on_and_the_next_command_does(
    loopback: LoopbackHub, tmp_path: Path
) -> None:
    loopback.hold = threading.Event()
    process = command(loopback, tmp_path, NAME)
    assert loopback.half_sent.wait(120)
    # What has been sent may still be on its way.
    while not any(path.stat().st_size for path in tmp_path.rglob("*.incomplete")):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == (
        f"Interrupted. What has been downloaded is kept: `python -m engine install {NAME}` goes on."
    )
    assert "Traceback" not in err
    loopback.hold.set()
    loopback.hold = None

    code, err = install(loopback, tmp_path, NAME)
    # All of it came, and was the file that the hub has; only then was it looked into.
    first, second = loopback.transfers
    assert first.start == 0
    assert second.start > 0
    assert second.sent == len(CONTENT) - second.start
    assert code == 1
    assert "is damaged or no checkpoint" in err.splitlines()[-1]
    assert [path.name for path in (tmp_path / "data" / "models").iterdir()] == [f".{NAME}.lock"]


def test_the_licence_comes_first_and_a_refusal_is_one_line(
    loopback: LoopbackHub, tmp_path: Path
) -> None:
    loopback.gated = True
    code, err = install(loopback, tmp_path, NAME)
    licence, refusal = err.splitlines()
    assert code == 1
    assert "research and non-commercial use only" in licence
    assert f"6.3 GB from {REPO}" in licence
    assert refusal.startswith(f"{REPO} is gated: ")


def test_a_wrong_checksum_is_one_line(loopback: LoopbackHub, tmp_path: Path) -> None:
    loopback.spoiled = True
    code, err = install(loopback, tmp_path, NAME)
    assert code == 1
    assert "It has been removed: try again." in err.splitlines()[-1]
    assert not list(tmp_path.rglob("*.incomplete"))


def test_offline_mode_is_heeded(loopback: LoopbackHub, tmp_path: Path) -> None:
    code, err = install(loopback, tmp_path, NAME, f"--revision={OLD_COMMIT}", HF_HUB_OFFLINE="1")
    assert code == 1
    refusal = err.splitlines()[-1]
    assert OLD_COMMIT in refusal
    assert str(tmp_path / "hf") in refusal
    assert loopback.resolved == []


def test_a_pinned_revision_is_asked_for(loopback: LoopbackHub, tmp_path: Path) -> None:
    code, err = install(loopback, tmp_path, NAME, f"--revision={OLD_COMMIT}")
    assert code == 1
    assert err.splitlines()[-1] == f"{REPO} has no revision '{OLD_COMMIT}' on the hub."
    code, err = install(loopback, tmp_path, NAME, f"--revision={COMMIT}", f"--sha256={'0' * 64}")
    assert code == 1
    assert f"{'0' * 64} is wanted" in err.splitlines()[-1]
    assert [revision for _, revision in loopback.resolved] == [OLD_COMMIT, COMMIT]


@pytest.mark.parametrize(
    "arguments", [["install"], ["install", "t2v-9"], ["install", NAME, "--sha256=12"]]
)
def test_wrong_usage_is_code_2(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "Traceback" not in err


def test_what_is_installed_is_not_fetched_again(
    tiny_t2v: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / NAME).symlink_to(tiny_t2v, target_is_directory=True)
    assert main(["install", NAME, f"--models-dir={tmp_path}"]) == 0
    assert capfd.readouterr() == (f"{tmp_path / NAME}\n", "")


def test_models_lists_what_can_be_installed(
    tiny_t2v: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").symlink_to(tiny_t2v, target_is_directory=True)
    assert main(["models", f"--models-dir={tmp_path}"]) == 0
    lines = {line.split()[0]: line for line in capfd.readouterr().out.splitlines()}
    assert set(PUBLISHED) | {"demo-t2v", "demo-i2v", "mine"} == set(lines)
    assert "  ready  " in lines["mine"]
    assert f"not installed: python -m engine install {NAME}  (6.3 GB, research" in lines[NAME]
    assert main(["models", f"--models-dir={tmp_path}", "--json"]) == 0
    models = {model["name"]: model for model in json.loads(capfd.readouterr().out)}
    assert (models["mine"]["installed"], models["mine"]["ready"]) == (True, True)
    assert (models[NAME]["installed"], models[NAME]["ready"]) == (False, False)
    assert (models[NAME]["width"], models[NAME]["height"]) == (512, 320)


def test_the_data_folder_is_the_bots(
    tiny_t2v: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine").symlink_to(tiny_t2v, target_is_directory=True)
    monkeypatch.setenv("FLOOR33_DATA_DIR", str(tmp_path))
    assert main(["info", "mine", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["path"] == str(tmp_path / "models" / "mine")


def test_generate_with_a_model_that_is_not_installed_says_how(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "clip.mp4"
    arguments = [f"--model={NAME}", "--prompt=a cat", "--device=cpu", f"--output={output}"]
    assert main(["generate", *arguments, f"--models-dir={tmp_path}"]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err == (
        f"The model {NAME} is not ready: It is not installed: python -m engine install {NAME}\n"
    )


def test_info_about_a_model_that_is_not_installed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", "i2v-512", f"--models-dir={tmp_path}", "--json"]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["hub"] == {
        "preset": "i2v-512",
        "hub_repo": "VideoCrafter/Image2Video-512",
        "file": "model.ckpt",
        "revision": "main",
        "download_bytes": 10_435_540_500,
        "install": "python -m engine install i2v-512",
    }
    assert (facts["ready"], facts["origin"], facts["disk_bytes"]) == (False, None, None)
    assert facts["parameters"]["unet"] == 1_438_843_460
    assert facts["parameters"]["vae"] == 83_653_863
    assert facts["parameters"]["image_projection"] == 48_541_696
    assert [512, 320] in facts["sizes"]
    assert main(["info", "i2v-512", f"--models-dir={tmp_path}"]) == 0
    out = capfd.readouterr().out
    for words in ("NOT READY", "engine install i2v-512", "10.4 GB", "unet 1,438.8 M", "default 8"):
        assert words in out


@pytest.mark.parametrize("how", ["name", "folder"])
def test_info_about_an_installed_model(
    tiny_i2v: Path, how: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = ["mine", f"--model-dir=mine={tiny_i2v}"] if how == "name" else [str(tiny_i2v)]
    asked.append(f"--models-dir={tmp_path}")
    assert main(["info", *asked, "--json"]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert (facts["ready"], facts["hub"], facts["path"]) == (True, None, str(tiny_i2v))
    files = [path for path in tiny_i2v.rglob("*") if path.is_file()]
    assert facts["disk_bytes"] == sum(path.stat().st_size for path in files)
    assert set(facts["parameters"]) == {
        "unet", "vae", "text_encoder", "image_encoder", "image_projection",
    }  # fmt: skip
    assert main(["info", *asked]) == 0
    out = capfd.readouterr().out
    for words in ("ready", str(tiny_i2v), "32x32, 48x32", "4, 8, 24 (default 8)", "CC0-1.0"):
        assert words in out


def test_info_about_nothing_is_code_2(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "t2v-51", f"--models-dir={tmp_path}"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "Did you mean t2v-512" in err
    assert len(err.splitlines()) == 1


def test_info_about_a_damaged_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tmp_path), f"--models-dir={tmp_path}"]) == 0
    assert "NOT READY: " in capfd.readouterr().out
