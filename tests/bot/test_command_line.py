"""`python -m bot`: exit codes and what is said on which stream."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot.__main__ import main
from bot.doctor.discord import application_of, invite_link
from bot.lifecycle.requirements import StartupError, check_requirements
from bot.settings import Settings
from tests.bot.conftest import World

TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GabcdE.abcdefghijklmnopqrstuvwxyz0123456789AB"


def toml(overrides: dict[str, Any]) -> str:
    extra = overrides["models"]["extra"]
    return (
        f'data_dir = "{overrides["data_dir"]}"\n'
        '[engine]\ndevices = ["cpu"]\n'
        '[models]\ntext_to_video = "tiny-t2v"\nimage_to_video = "tiny-i2v"\n'
        "[models.extra]\n" + "".join(f'{name} = "{path}"\n' for name, path in extra.items())
    )


@pytest.fixture
def config(overrides: dict[str, Any], tmp_path: Path) -> Path:
    file = tmp_path / "bot.toml"
    file.write_text(toml(overrides))
    return file


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bot", *arguments],
        env=os.environ | environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_wrong_settings_are_one_line_and_exit_code_2(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text("[limits]\nmax_prompt_chars = 0\n")
    assert main(["--config", str(config)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "limits.max_prompt_chars" in err


def test_wrong_usage_is_exit_code_2() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["dance"])
    assert ended.value.code == 2


def test_a_token_that_cannot_be_one(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "not a tökén")
    assert main(["--config", str(config)]) == 2
    err = capsys.readouterr().err
    assert "DISCORD_TOKEN" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert "tökén" not in err


def test_sync_needs_a_token(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(config), "sync"]) == 2
    assert "DISCORD_TOKEN is not set" in capsys.readouterr().err


def test_without_ffmpeg_the_bot_refuses_to_start(
    overrides: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "no-ffmpeg"))
    with pytest.raises(StartupError, match="ffmpeg"):
        check_requirements(Settings.load(overrides=overrides))


def test_a_data_folder_that_is_a_file(overrides: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    overrides["data_dir"] = str(tmp_path / "file")
    with pytest.raises(StartupError, match="data_dir"):
        check_requirements(Settings.load(overrides=overrides))


async def test_backup_while_the_bot_runs(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.imagine(steps=1)
    copy = tmp_path / "copy.db"
    config = tmp_path / "backup.toml"
    config.write_text(f'data_dir = "{world.settings.data_dir}"\n')
    assert main(["--config", str(config), "backup", str(copy)]) == 0
    assert str(copy) in capsys.readouterr().out
    with sqlite3.connect(copy) as database:
        assert database.execute("select state from jobs").fetchall() == [("delivered",)]


def test_backup_of_nothing(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", str(config), "backup", str(tmp_path / "copy.db")]) == 1
    assert "no database" in capsys.readouterr().err
    assert not (tmp_path / "copy.db").exists()


def doctor(config: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = main(["--config", str(config), "doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] == (code == 0)
    return code, {check["name"]: check for check in report["checks"]}


def test_the_doctor_is_content(
    config: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, checks = doctor(config, capsys)
    assert code == 0
    assert {"data folder", "database", "ffmpeg", "devices", "token"} <= set(checks)
    assert checks["model tiny-t2v"]["status"] == "ok"
    assert "CC0-1.0" in checks["model tiny-t2v"]["detail"]
    assert checks["warm-up"]["detail"] == "tiny-i2v, tiny-t2v are loaded at the start on cpu"
    assert checks["token"]["status"] == "warn"
    assert all(check["advice"] for check in checks.values() if check["status"] != "ok")
    assert models.is_dir()


def test_the_doctor_speaks_to_people(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(config), "doctor"]) == 0
    out = capsys.readouterr().out
    assert "The bot can run." in out
    assert "ok    ffmpeg" in out


def _missing_model(config: Path) -> None:
    config.write_text(
        config.read_text().replace('text_to_video = "tiny-t2v"', 'text_to_video = "gone"')
    )


def _wrong_model(config: Path) -> None:
    config.write_text(
        config.read_text().replace('text_to_video = "tiny-t2v"', 'text_to_video = "tiny-i2v"')
    )


def _broken_database(config: Path) -> None:
    data = config.parent / "data"
    data.mkdir()
    (data / "floor33.db").write_bytes(
        b"this is no database, but long enough to be read as one" * 99
    )


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (_missing_model, "model gone"),
        (_wrong_model, "model tiny-i2v"),
        (_broken_database, "database"),
    ],
)
def test_the_doctor_finds_what_is_wrong(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    name: str,
) -> None:
    spoil(config)
    code = main(["--config", str(config), "doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    failed = [check for check in report["checks"] if check["status"] == "fail"]
    assert code == 1
    assert [check["name"] for check in failed] == [name], report
    assert failed[0]["advice"]


@pytest.mark.parametrize("there", [True, False])
def test_a_lost_database_is_refused_and_can_be_begun_anew(
    config: Path, capsys: pytest.CaptureFixture[str], there: bool
) -> None:
    data = config.parent / "data"
    (data / "outputs").mkdir(parents=True)
    (data / "outputs" / "clip.mp4").write_bytes(b"an MP4")
    if there:
        (data / "floor33.db").touch()
    code, checks = doctor(config, capsys)
    assert code == 1
    assert checks["database"]["status"] == "fail"
    assert "bot restore --empty" in checks["database"]["detail"]
    assert main(["--config", str(config)]) == 1
    err = capsys.readouterr().err.splitlines()
    assert checks["database"]["detail"] in err[-1]
    assert main(["--config", str(config), "restore", "--empty"]) == 0
    assert "new and empty" in capsys.readouterr().out
    assert doctor(config, capsys)[0] == 0
    assert main(["--config", str(config), "restore", "--empty"]) == 1
    assert "--force" in capsys.readouterr().err
    assert main(["--config", str(config), "restore", "--empty", "--force"]) == 0
    assert (data / "outputs" / "clip.mp4").exists()


@pytest.mark.parametrize("words", [(), ("x.db", "--empty")])
def test_restore_takes_a_file_or_nothing(config: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(config), "restore", *words])
    assert ended.value.code == 2


def test_the_doctor_misses_ffmpeg(
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "no-ffmpeg"))
    code, checks = doctor(config, capsys)
    assert code == 1
    assert checks["ffmpeg"]["status"] == "fail"


def test_the_doctor_sees_what_is_no_token(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "hunter2")
    code, checks = doctor(config, capsys)
    assert code == 1
    assert checks["token"]["status"] == "fail"
    assert "hunter2" not in json.dumps(checks)


def test_the_invite_link_comes_from_the_token() -> None:
    application_id = application_of(TOKEN)
    assert application_id == 123456789012345678
    link = invite_link(application_id)
    assert "client_id=123456789012345678" in link
    assert "applications.commands" in link


def test_nothing_but_results_on_standard_output(config: Path) -> None:
    done = run("--config", str(config), "doctor", "--json")
    assert done.returncode == 0
    json.loads(done.stdout)
    assert "Traceback" not in done.stderr
