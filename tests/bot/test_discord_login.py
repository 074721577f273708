"""What happens with a token: real discord.py against a small HTTP server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import discord
import pytest

from bot.__main__ import main
from bot.doctor import Status
from bot.doctor.discord import check_discord, needed_permissions
from bot.settings import Settings
from tests.bot.test_command_line import TOKEN, toml

BOT = {"id": "1", "username": "Floor33", "discriminator": "0", "avatar": None, "bot": True}
APPLICATION = {
    "id": "123456789012345678",
    "name": "Floor33",
    "icon": None,
    "description": "",
    "bot_public": True,
    "bot_require_code_grant": False,
    "verify_key": "",
    "flags": 0,
    "team": None,
    "owner": BOT,
}
PERMISSIONS = needed_permissions()


class Discord(ThreadingHTTPServer):
    """Answers by path; `None` is a refusal of the token."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Any] = {
            "/users/@me": BOT,
            "/oauth2/applications/@me": APPLICATION,
            "/users/@me/guilds": [],
        }
        self.put: list[Any] = []


class _Handler(BaseHTTPRequestHandler):
    server: Discord

    def do_GET(self) -> None:
        self._answer(self.server.answers.get(self.path.split("?")[0]))

    def do_PUT(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.put.append((self.path, sent))
        known = {"application_id": "1", "version": "1", "default_member_permissions": None}
        self._answer([{"id": str(i), **known, **command} for i, command in enumerate(sent)])

    def _answer(self, answer: Any) -> None:
        body = json.dumps({"message": "401", "code": 0} if answer is None else answer).encode()
        self.send_response(401 if answer is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Discord]:
    with Discord() as made:
        monkeypatch.setenv("DISCORD_TOKEN", TOKEN)
        monkeypatch.setattr(discord.http.Route, "BASE", f"http://127.0.0.1:{made.server_port}")
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def config(overrides: dict[str, Any], tmp_path: Path) -> Path:
    file = tmp_path / "bot.toml"
    file.write_text(toml(overrides))
    return file


async def findings(config: Path) -> dict[str, tuple[Status, str]]:
    checks = await check_discord(Settings.load(config))
    assert TOKEN not in str(checks)
    return {check.name: (check.status, check.detail) for check in checks}


async def test_an_accepted_token(server: Discord, config: Path) -> None:
    server.answers["/users/@me/guilds"] = [
        {"id": "1", "name": "Good", "permissions": str(PERMISSIONS.value)},
        {"id": "2", "name": "Admin", "permissions": "8"},
        {"id": "3", "name": "Bad", "permissions": str(PERMISSIONS.value & ~0x8000)},
    ]
    found = await findings(config)
    assert found["token"][0] is Status.OK
    assert found["server Good"][0] is Status.OK
    assert found["server Admin"][0] is Status.OK
    assert found["server Bad"] == (Status.WARN, "missing permissions: attach files")
    assert "client_id=123456789012345678" in found["invite link"][1]


async def test_a_public_application_is_warned_of(server: Discord, config: Path) -> None:
    status, words = (await findings(config))["who may use it"]
    assert status is Status.WARN
    assert "public" in words
    server.answers["/oauth2/applications/@me"] = APPLICATION | {"bot_public": False}
    assert (await findings(config))["who may use it"][0] is Status.OK


async def test_servers_that_are_not_named_are_warned_of(
    server: Discord, overrides: dict[str, Any], tmp_path: Path
) -> None:
    config = tmp_path / "servers.toml"
    config.write_text(f"discord.servers = [1]\n{toml(overrides)}")
    server.answers["/users/@me/guilds"] = [
        {"id": "1", "name": "Home", "permissions": str(PERMISSIONS.value)},
        {"id": "2", "name": "Elsewhere", "permissions": str(PERMISSIONS.value)},
    ]
    found = await findings(config)
    assert found["who may use it"][0] is Status.OK
    assert found["server Home"][0] is Status.OK
    status, words = found["server Elsewhere"]
    assert status is Status.WARN
    assert "leaves" in words


async def test_a_bot_in_no_server(server: Discord, config: Path) -> None:
    assert (await findings(config))["servers"][0] is Status.WARN
    assert server.answers


async def test_a_refused_token(server: Discord, config: Path) -> None:
    server.answers["/users/@me"] = None
    assert (await findings(config))["token"][0] is Status.FAIL


async def test_without_network_the_doctor_only_warns(
    server: Discord, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discord.http.Route, "BASE", "http://127.0.0.1:9")
    found = await findings(config)
    assert found["token"][0] is Status.WARN
    assert "client_id=123456789012345678" in found["invite link"][1]
    assert server.answers


@pytest.mark.parametrize("answer", ["text", [{}], 7])
@pytest.mark.parametrize("path", ["/users/@me", "/oauth2/applications/@me", "/users/@me/guilds"])
async def test_an_answer_that_is_none_of_discords(
    server: Discord, config: Path, path: str, answer: Any
) -> None:
    server.answers[path] = answer
    assert (await findings(config))["token"][0] is Status.WARN


def test_the_bot_ends_with_one_line_when_its_token_is_refused(
    server: Discord, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers["/users/@me"] = None
    assert main(["--config", str(config)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert [line for line in err.splitlines() if line.startswith("floor33:")] == [
        err.splitlines()[-1]
    ]
    assert "refused DISCORD_TOKEN" in err
    assert "Traceback" not in err
    assert TOKEN not in err


@pytest.mark.parametrize(("arguments", "where"), [((), ""), (("--guild", "77"), "/guilds/77")])
def test_sync_sends_the_commands(
    server: Discord,
    config: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    where: str,
) -> None:
    assert main(["--config", str(config), "sync", *arguments]) == 0
    ((path, commands),) = server.put
    assert path == f"/applications/{APPLICATION['id']}{where}/commands"
    names = {command["name"] for command in commands}
    assert names == {"imagine", "animate", "queue", "history", "cancel", "admin"}
    assert "6 commands" in capsys.readouterr().out
    # Nothing else was opened.
    assert not (config.parent / "data").exists()
