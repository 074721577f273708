"""A published model in the settings: fetched before the start, or refused in one clear line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.__main__ import main
from bot.lifecycle.install_models import ensure_models_installed, missing_models
from bot.lifecycle.requirements import StartupError
from bot.settings import Settings, SettingsError
from bot.settings.engine import engine_settings
from engine.checkpoints import PUBLISHED, PublishedModel, is_installed
from engine.checkpoints.hub.client import Hub
from engine.checkpoints.original.presets import Preset, parse_config
from engine.serving import Engine
from tests.engine.checkpoints.loopback_hub import LoopbackHub, serving

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def loopback() -> Iterator[LoopbackHub]:
    with serving() as hub:
        yield hub


@pytest.fixture
def hub(loopback: LoopbackHub, tmp_path: Path) -> Hub:
    return Hub(
        endpoint=loopback.address, cache_dir=tmp_path / "cache", offline=False, pause_s=0.001
    )


@pytest.fixture
def tiny(golden: Path, loopback: LoopbackHub) -> dict[str, PublishedModel]:
    """A table of one model, which the hub of the test has."""
    content = (golden / "e2e_t2v" / "model.ckpt").read_bytes()
    config = json.loads((golden / "e2e_t2v" / "run.json").read_text())["config"]
    loopback.put("floor33/tiny", "model.ckpt", content)
    preset = Preset(name="tiny", title="Tiny", config=parse_config(config), default_fps=8)
    return {
        "tiny": PublishedModel(preset=preset, hub_repo="floor33/tiny", download_bytes=len(content))
    }


def settings(tmp_path: Path, **models: Any) -> Settings:
    return Settings.load(overrides={"data_dir": str(tmp_path / "data"), "models": models})


def run(loopback: LoopbackHub, tmp_path: Path, models: str) -> subprocess.Popen[str]:
    """The bot with these [models], in a process of its own."""
    config = tmp_path / "bot.toml"
    config.write_text(f'data_dir = "{tmp_path / "data"}"\n[models]\n{models}')
    return subprocess.Popen(
        [sys.executable, "-m", "bot", "--config", str(config)],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HF_ENDPOINT": loopback.address,
            "HF_HOME": str(tmp_path / "hf"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_named_model_is_installed_before_the_start(
    tiny: dict[str, PublishedModel], hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = settings(tmp_path, text_to_video="tiny")
    assert list(missing_models(wanted, tiny)) == ["models.text_to_video"]
    ensure_models_installed(wanted, tiny, hub)
    assert is_installed("tiny", tmp_path / "data" / "models")
    out, err = capsys.readouterr()
    assert out == ""
    first, second, *_ = err.splitlines()
    assert "models.text_to_video names tiny, which is not installed yet" in first
    for words in ("Tiny", "5.9 MB from floor33/tiny", "research and non-commercial use only"):
        assert words in second
    # The next start finds it there, and says nothing.
    assert missing_models(wanted, tiny) == {}
    ensure_models_installed(wanted, tiny, hub)
    assert capsys.readouterr() == ("", "")


def test_the_engine_serves_it_under_its_name(
    tiny: dict[str, PublishedModel], hub: Hub, tmp_path: Path
) -> None:
    wanted = settings(tmp_path, text_to_video="tiny")
    ensure_models_installed(wanted, tiny, hub)
    cards = {card.name: card for card in Engine(engine_settings(wanted)).models()}
    assert cards["tiny"].ready
    assert not cards["t2v-1024"].installed


def test_a_model_of_another_task_is_a_wrong_setting(
    tiny: dict[str, PublishedModel], hub: Hub, tmp_path: Path, loopback: LoopbackHub
) -> None:
    with pytest.raises(SettingsError, match=r"models\.image_to_video: tiny is a model for text"):
        ensure_models_installed(settings(tmp_path, image_to_video="tiny"), tiny, hub)
    assert loopback.resolved == []


def test_downloads_can_be_forbidden(
    tiny: dict[str, PublishedModel], hub: Hub, tmp_path: Path, loopback: LoopbackHub
) -> None:
    folder = tmp_path / "data" / "models"
    with pytest.raises(
        StartupError, match=r"models\.download is off; install it with: "
    ) as refused:
        ensure_models_installed(settings(tmp_path, text_to_video="tiny", download=False), tiny, hub)
    assert str(refused.value).endswith(f"python -m engine install tiny --models-dir {folder}")
    assert loopback.resolved == []


def test_a_hub_that_fails_is_one_line(
    tiny: dict[str, PublishedModel], hub: Hub, tmp_path: Path, loopback: LoopbackHub
) -> None:
    loopback.gated = True
    with pytest.raises(StartupError, match=r"^tiny cannot be installed: floor33/tiny is gated"):
        ensure_models_installed(settings(tmp_path, text_to_video="tiny"), tiny, hub)


def test_other_names_are_left_to_the_engine(tmp_path: Path, tiny_folder: Path) -> None:
    assert missing_models(settings(tmp_path)) == {}
    assert missing_models(settings(tmp_path, text_to_video="my-own")) == {}
    extra = {"t2v-1024": str(tiny_folder)}
    assert missing_models(settings(tmp_path, text_to_video="t2v-1024", extra=extra)) == {}


@pytest.fixture
def tiny_folder(models: Path) -> Path:
    return models / "tiny-t2v"


def test_the_command_ends_with_code_1_and_says_why(loopback: LoopbackHub, tmp_path: Path) -> None:
    process = run(loopback, tmp_path, 'text_to_video = "t2v-1024"')
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (1, "")
    repo = PUBLISHED["t2v-1024"].hub_repo
    what, licence, why = err.splitlines()
    assert "models.text_to_video names t2v-1024" in what
    assert f"6.3 GB from {repo}; licence: research and non-commercial" in licence
    assert why.startswith(
        f"floor33: t2v-1024 cannot be installed: The hub has no repository {repo}"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM cannot be caught there")
def test_a_service_can_be_stopped_while_it_downloads(loopback: LoopbackHub, tmp_path: Path) -> None:
    loopback.put(PUBLISHED["t2v-512"].hub_repo, "model.ckpt", bytes(400_000))
    loopback.hold = threading.Event()
    process = run(loopback, tmp_path, 'text_to_video = "t2v-512"')
    assert loopback.half_sent.wait(120)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (0, "")
    assert err.splitlines()[-1] == "floor33: stopped; the next start goes on with the download"
    assert "Traceback" not in err


def test_a_wrong_task_is_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "bot.toml"
    config.write_text('[models]\nimage_to_video = "t2v-512"')
    assert main(["--config", str(config)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "models.image_to_video: t2v-512 is a model for text-to-video" in line


@pytest.mark.parametrize(
    ("download", "code", "status", "words"),
    [
        ("true", 0, "warn", "the next start fetches it"),
        ("false", 1, "fail", "models.download is off"),
    ],
)
def test_the_doctor_tells_and_fetches_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    download: str,
    code: int,
    status: str,
    words: str,
) -> None:
    config = tmp_path / "bot.toml"
    config.write_text(
        f'data_dir = "{tmp_path / "data"}"\n'
        f'[models]\ntext_to_video = "t2v-512"\ndownload = {download}\n'
    )
    assert main(["--config", str(config), "doctor", "--json"]) == code
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    found = checks["model t2v-512"]
    assert found["status"] == status
    assert words in found["detail"]
    assert "non-commercial" in found["detail"]
    assert f"install t2v-512 --models-dir {tmp_path / 'data' / 'models'}" in found["advice"]
    # What nobody asked for is not worth a line.
    assert "model t2v-1024" not in checks
    assert not (tmp_path / "data" / "models").exists()


def test_the_doctor_sees_a_wrong_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "bot.toml"
    config.write_text(f'data_dir = "{tmp_path / "data"}"\n[models]\ntext_to_video = "i2v-512"\n')
    assert main(["--config", str(config), "doctor", "--json"]) == 1
    checks = json.loads(capsys.readouterr().out)["checks"]
    found = [check for check in checks if check["name"] == "model i2v-512"]
    assert [check["status"] for check in found] == ["fail"]
    assert "needs a model for text-to-video" in found[0]["detail"]
