"""Secrets in logs, on the console, in refusals and tracebacks: nowhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bot.__main__ import main
from bot.operations.logs import formatter
from bot.settings import LogSettings, Settings
from bot.settings.known_secrets import secrets_of
from bot.settings.secrets import Redactor, secrets_of_address, secrets_of_environment
from engine.checkpoints.hub.client import Hub, _without_password
from tests.bot.conftest import make_world

SECRET = "geheim-7hQ2x"
ROOT = Path(__file__).resolve().parents[2]

VARIABLES = {
    "DISCORD_TOKEN": SECRET,
    "OPENAI_API_KEY": SECRET,
    "HF_TOKEN": SECRET,
    "HUGGING_FACE_HUB_TOKEN": SECRET,
    "PGPASSWORD": SECRET,
    "HF_ENDPOINT": f"http://me:{SECRET}@mirror",
    "HTTP_PROXY": f"http://me:{SECRET}@proxy:3128",
    "https_proxy": f"http://{SECRET}@proxy:3128",
    "ALL_PROXY": f"socks5://me:{SECRET}@proxy",
    "FLOOR33_DATABASE_URL": f"postgresql://me@db/x?password={SECRET}",
}


@pytest.mark.parametrize("name", VARIABLES)
def test_a_secret_of_the_environment_is_known(name: str) -> None:
    assert SECRET in secrets_of_environment({name: VARIABLES[name]})
    redacted = Redactor(secrets_of_environment({name: VARIABLES[name]}))
    assert SECRET not in redacted(f"it said {SECRET!r} and {VARIABLES[name]}")


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:{}@db/x",
        "postgresql://me:{}@[::1]:5432/x?host=a@b",
        "postgresql://me:{}/more@db/x",
        "postgresql://me:12/{}@db/x",
        "postgresql://me:a@{}@db/x",
        "postgresql://me:{}?@db/x",
        "postgresql://me:{}#@db/x",
        "postgresql://me:[{}@db/x",
        "postgresql://:{}@/x?host=/tmp",
        "postgresql://db/x?user=me&password={}",
        "me:{}@db/x",
        "http://h/v1?key={}",
        "http://h/v1?api-version=1&subscription-key={}",
        "http://h/v1?access_token={}&x=1",
    ],
)
def test_a_secret_of_an_address_is_found_in_any_text(address: str) -> None:
    found = secrets_of_address(address.format(SECRET))
    redacted = Redactor(found)
    for text in (address.format(SECRET), f"invalid literal for int(): {SECRET!r}", f"<{SECRET}>"):
        assert SECRET not in redacted(text)


@pytest.mark.parametrize(
    "address",
    ["https://api.openai.com/v1", "postgresql:///x?host=/run/postgresql", "http://127.0.0.1:8000"],
)
def test_an_address_without_secrets_hides_nothing(address: str) -> None:
    assert secrets_of_address(address) == []
    assert Redactor([])(f"asking {address}") == f"asking {address}"


@pytest.mark.parametrize(
    "text",
    [
        "POST /webhooks/1001/{}/messages/@original",
        "https://discord.com/api/v10/webhooks/1001/{}?wait=true",
        "POST /interactions/77/{}/callback has returned 404",
        "{{'id': '1', 'token': '{}', 'version': 1}}",
        '{{"token": "{}"}}',
        "GET http://me:{}@mirror/x",
        "headers {{'Authorization': 'Bearer {}'}}",
        "https://host/v1/chat?key={}&x=1",
    ],
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_what_nobody_could_list_is_hidden_by_its_place(text: str, form: Any) -> None:
    import logging

    lines = formatter(LogSettings(format=form), [])
    record = logging.makeLogRecord({"msg": text.format(SECRET), "levelname": "INFO"})
    record.job, record.job_note = None, ""
    assert SECRET not in lines.format(record)


def test_ordinary_lines_stay_as_they_are() -> None:
    redacted = Redactor(["abc"])  # too short to be told from a word
    for line in (
        "database postgresql://me@db:5432/x: the server does not answer",
        "metrics and health: http://127.0.0.1:9133/metrics, /healthz, /readyz",
        "logged in as abc, in 3 servers; see https://discord.com/developers/applications?x=1",
        "job 0123456789abcdef: the tokens of the prompt: 77",
    ):
        assert redacted(line) == line


def test_keys_in_the_address_of_an_expansion_server_are_known() -> None:
    settings = Settings.load(
        overrides={"expansion": {"base_url": f"http://h/v1?key={SECRET}", "backend": "openai"}}
    )
    assert SECRET in secrets_of(settings)


@pytest.mark.parametrize("as_json", [False, True])
def test_the_doctor_shows_no_secret(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    as_json: bool,
) -> None:
    config = tmp_path / "bot.toml"
    config.write_text(
        f'data_dir = "{tmp_path / "data"}"\n[engine]\ndevices = ["cpu"]\n'
        f'[expansion]\nenabled = true\nbackend = "openai"\nbase_url = "http://h/v1?key={SECRET}"\n'
    )
    monkeypatch.setenv("FLOOR33_DATABASE_URL", f"postgresql://me:{SECRET}@127.0.0.1:1/x")
    main(["--config", str(config), "doctor", *(["--json"] if as_json else [])])
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    assert "http://h/v1" in out
    if as_json:
        json.loads(out)


BAD_ADDRESSES = [
    "postgresql://[bad/db",
    f"postgresql://me:{SECRET}@127.0.0.1:abc/x",
    f"postgresql://me:{SECRET}@127.0.0.1:99999/x",
    f"postgresql://me:{SECRET}@127.0.0.1:-1/x",
    f"postgresql://me:{SECRET}/more@127.0.0.1/x",
    f"postgresql://me:12/{SECRET}@127.0.0.1/x",
    f"postgresql://me:{SECRET}@more@127.0.0.1/x",
    f"postgresql://me:[{SECRET}@127.0.0.1/x",
    f"postgresql://me:{SECRET}]@127.0.0.1/x",
    f"postgresql://me:{SECRET}?more@127.0.0.1/x",
    f"postgresql://me:{SECRET}#more@127.0.0.1/x",
    f"postgresql://me:{SECRET}@127.0.0.1/x?port=abc",
    f"postgresql://me:{SECRET}@127.0.0.1/x?nonsense",
    f"mysql://me:{SECRET}@127.0.0.1/x",
    f"postgresql+asyncpg://me:{SECRET}@127.0.0.1/x",
    f"me:{SECRET}@127.0.0.1/x",
    f"postgresql://me:{SECRET}@127.0.0.1",
]


@pytest.mark.parametrize("address", BAD_ADDRESSES)
@pytest.mark.parametrize("place", ["file", "environment"])
@pytest.mark.parametrize(
    "command", [(), ("doctor",), ("backup", "x.db"), ("restore", "x.db"), ("sync",)]
)
def test_an_address_that_cannot_be_used_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    address: str,
    place: str,
    command: tuple[str, ...],
) -> None:
    config = tmp_path / "bot.toml"
    config.write_text(f'[database]\nurl = "{address}"\n' if place == "file" else "")
    if place == "environment":
        monkeypatch.setenv("FLOOR33_DATABASE_URL", address)
    assert main(["--config", str(config), *command]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "database.url" in err
    assert not [part for part in SECRET.split("-") if part in err]


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me@a:1,b:2/x",
        "postgresql://me@[::1]:5432/x",
        "postgresql://me@[::1]/x",
        "postgres:///x?host=/run/postgresql&port=5433",
        "postgresql://me@db/x?sslmode=require",
    ],
)
def test_addresses_that_can_be_used(address: str) -> None:
    settings = Settings.load(overrides={"database": {"url": address}})
    assert settings.database_location == address


@pytest.mark.parametrize(
    "address", [f"http://me:{SECRET}/x@h/v1", "http://h:abc/v1", "http://[h/v1", "http://h:0/v1"]
)
def test_an_expansion_server_whose_address_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    config = tmp_path / "bot.toml"
    config.write_text(f'[expansion]\nbase_url = "{address}"\n')
    assert main(["--config", str(config), "doctor"]) == 2
    err = capsys.readouterr().err
    assert "expansion.base_url" in err
    assert len(err.splitlines()) == 1
    assert SECRET not in err


def test_a_fault_of_ours_is_a_traceback_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)

    def broken(*_: object) -> Settings:
        raise RuntimeError(f"unexpected {SECRET}")

    monkeypatch.setattr(Settings, "load", broken)
    assert main(["doctor"]) == 1
    err = capsys.readouterr().err
    assert "RuntimeError: unexpected ***" in err


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (f"http://me:{SECRET}@mirror:8080", "http://mirror:8080"),
        (f"http://{SECRET}@mirror", "http://mirror"),
        (f"http://me:a/{SECRET}@mirror", "http://mirror"),
        (f"https://mirror/hub?key={SECRET}", "https://mirror/hub"),
        (f"me:{SECRET}@mirror", "The hub"),
    ],
)
def test_the_hubs_address_is_shown_without_its_password(address: str, shown: str) -> None:
    assert _without_password(address) == shown


@pytest.mark.parametrize("password", [SECRET, f"a/{SECRET}", f"{SECRET}/a", f"[{SECRET}"])
def test_a_hub_that_cannot_be_reached_is_told_without_its_password(
    tmp_path: Path, password: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "engine", "install", "t2v-512"],
        cwd=tmp_path,
        env=os.environ
        | {
            "HF_ENDPOINT": f"http://me:{password}@127.0.0.1:1",
            "HF_HOME": str(tmp_path),
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert Hub(endpoint="http://h")._name == "http://h"


async def test_a_failed_write_does_not_log_its_values(
    overrides: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with make_world(Settings.load(overrides=overrides)) as world:
        world.execute(
            "create trigger refuse before insert on jobs begin select raise(abort, 'no room'); end"
        )
        await world.alice.slash(world.channel, "imagine", prompt="something between us")
        await world.env.settle()
    lines = formatter(LogSettings(), [])
    for record in caplog.records:
        record.job_note = ""
    log = "\n".join(map(lines.format, caplog.records))
    assert "no room" in log
    assert "something between us" not in log
    assert "simcord_interaction_" not in log, "the token that answers the user"
