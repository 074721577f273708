"""The connection to the gateway: lost, refused, ended at once, or answered from a dead address."""

from __future__ import annotations

import http.server
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import discord.gateway
import discord.http
import pytest
import yarl

from bot.__main__ import main
from bot.lifecycle.backoff import SETTLED_S, STEADY_S, GatewayBackoff
from tests.bot.test_command_line import TOKEN, toml
from tests.bot.wire import Wire, wire, wired
from tests.loopback_discord import LoopbackDiscord
from tests.loopback_discord.answers import ODD, Answer, Reset

__all__ = ["wire"]

IDENTIFY, PRESENCE, RESUME = 2, 3, 6
CLOSE_AGAIN = 4000


def tries(wire: Wire) -> int:
    return sum(op in (IDENTIFY, RESUME) for op in wire.gateway.heard)


def sessions(wire: Wire) -> int:
    return wire.gateway.heard.count(IDENTIFY)


# ------------------------------------------------------------------------ ended at once


@pytest.mark.parametrize("close", [4000, 4009])
def test_a_gateway_that_ends_every_resumption_is_not_hammered(wire: Wire, close: int) -> None:
    wire.start()

    async def refuse(packet: dict[str, Any]) -> bool:
        await wire.gateway.close(close)
        return True

    wire.gateway.heard.clear()
    wire.gateway.refuse = refuse
    wire.close(close)
    time.sleep(5)
    assert 1 <= tries(wire) <= 10
    wire.gateway.refuse = None
    wire.until(wire.gateway.ready.is_set)
    assert wire.answers()
    assert "Traceback" not in wire.said()


def test_a_gateway_that_asks_to_reconnect_at_once_is_not_hammered(wire: Wire) -> None:
    wire.start()

    async def refuse(packet: dict[str, Any]) -> bool:
        await wire.gateway._send({"op": 7, "d": None})
        return True

    wire.gateway.heard.clear()
    wire.gateway.refuse = refuse
    wire.packet({"op": 7, "d": None})
    time.sleep(5)
    assert 1 <= tries(wire) <= 10


def test_a_session_that_is_refused_is_asked_for_less_and_less_often(wire: Wire) -> None:
    wire.start()

    async def refuse(packet: dict[str, Any]) -> bool:
        await wire.gateway._send({"op": 9, "d": False})
        return True

    wire.gateway.heard.clear()
    wire.gateway.refuse = refuse
    wire.packet({"op": 9, "d": False})
    time.sleep(14)
    assert 1 <= sessions(wire) <= 2  # after 5 s and 10 s more; without pauses growing, three


def test_the_pauses_grow_up_to_what_discord_allows_in_a_day() -> None:
    backoff = GatewayBackoff(chance=lambda: 0.0)
    assert backoff.pause_s(resuming=False) == 0  # the start
    pauses = []
    for _ in range(12):
        backoff.note(0.0, resumed=False, identified=True)
        pauses.append(backoff.pause_s(resuming=False))
    assert pauses[:3] == [5.0, 10.0, 20.0]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 600.0
    backoff.note(SETTLED_S, resumed=False, identified=True)
    assert backoff.pause_s(resuming=True) == 0
    assert backoff.pause_s(resuming=False) == 0


def test_an_hour_without_a_network_does_not_count_as_refusals() -> None:
    backoff = GatewayBackoff(chance=lambda: 0.0)
    for _ in range(60):
        backoff.note(0.0, resumed=False, identified=False)
    assert backoff.pause_s(resuming=False) == 60.0


def test_resumptions_that_fail_are_given_up() -> None:
    backoff = GatewayBackoff(chance=lambda: 0.0)
    backoff.note(3_600.0, resumed=False, identified=True)
    pauses = []
    while not backoff.give_up_session():
        pauses.append(backoff.pause_s(resuming=True))
        backoff.note(0.0, resumed=True, identified=False)
    assert pauses == [0.0, 1.0, 3.0]
    for _ in range(20):  # a connection that is lost now and then is resumed at once
        backoff.note(STEADY_S, resumed=True, identified=False)
        assert not backoff.give_up_session()
        assert backoff.pause_s(resuming=True) == 0


def test_health_tells_of_a_connection_that_is_refused(
    tmp_path: Path, overrides: dict[str, Any]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with wired(tmp_path, overrides, f"[operations]\nport = {port}\n") as watched:
        watched.start()
        watched.until(lambda: _status(port) == 200)

        async def refuse(packet: dict[str, Any]) -> bool:
            await watched.gateway.close(CLOSE_AGAIN)
            return True

        watched.gateway.refuse = refuse
        watched.close(CLOSE_AGAIN)
        watched.until(lambda: _status(port) == 503)
        watched.gateway.refuse = None
        watched.until(lambda: _status(port) == 200)


def _status(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_bot_that_may_begin_no_more_sessions_waits(wire: Wire) -> None:
    """Discord voids the token of a bot that goes on."""
    limit = wire.discord._rest.session_starts
    limit |= {"remaining": 0, "reset_after": 3_000}
    wire.bots.start()
    wire.until(lambda: "no new session for 3 s" in wire.said())
    assert wire.gateway.heard == []
    wire.until(wire.gateway.ready.is_set)
    assert wire.answers()


# ------------------------------------------------------------------ addresses and packets


class Broken(http.server.BaseHTTPRequestHandler):
    """A load balancer whose server is gone."""

    def do_GET(self) -> None:
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def broken() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"ws://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("address", ["broken", "ws://127.0.0.1:9/"])
def test_a_dead_address_for_resumptions_is_forgotten(wire: Wire, address: str, broken: str) -> None:
    """https://github.com/Rapptz/discord.py/issues/10511"""
    wire.gateway.resume_url = broken if address == "broken" else address
    wire.start()
    wire.gateway.ready.clear()
    wire.packet({"op": 7, "d": None})
    wire.until(lambda: sessions(wire) == 2, 75)
    assert wire.answers()
    assert "Traceback" not in wire.said()


@pytest.mark.parametrize("code", [1000, 1001, 4000, 4008])
def test_a_lost_connection_is_resumed_and_one_line(wire: Wire, code: int) -> None:
    wire.start()
    wire.gateway.ready.clear()
    wire.close(code)
    wire.until(wire.gateway.ready.is_set)
    assert wire.gateway.heard.count(RESUME) == 1
    assert wire.answers()
    assert wire.said().count("the connection to Discord ended") == 1
    assert f"code {code}" in wire.said()
    assert "Traceback" not in wire.said()


def test_a_session_without_a_readable_beginning_is_begun_again(wire: Wire) -> None:
    beginnings: list[Any] = [
        {"op": 0, "t": "READY", "s": 1, "d": {"v": 10}},
        {"op": 0, "t": "READY", "s": 1, "d": None},
    ]

    async def refuse(packet: dict[str, Any]) -> bool:
        return bool(beginnings) and await wire.gateway._send(beginnings.pop())

    wire.gateway.refuse = refuse
    wire.bots.start()
    wire.until(wire.gateway.ready.is_set)
    assert sessions(wire) == 3
    assert wire.answers()


def test_a_session_without_an_address_for_resumptions(wire: Wire) -> None:
    send = wire.gateway._send

    async def leave_out(packet: Any) -> bool:
        if isinstance(packet, dict) and packet.get("t") == "READY":
            packet["d"] |= {"resume_gateway_url": None}
        return await send(packet)

    wire.gateway._send = leave_out  # type: ignore[method-assign]
    wire.start()
    assert wire.answers()
    wire.gateway.ready.clear()
    wire.close(CLOSE_AGAIN)
    wire.until(wire.gateway.ready.is_set)
    assert wire.gateway.heard.count(RESUME) == sessions(wire) == 1


def test_an_address_for_resumptions_that_never_answers_is_forgotten(wire: Wire) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        wire.gateway.resume_url = f"ws://127.0.0.1:{silent.getsockname()[1]}/"
        wire.start()
        wire.gateway.ready.clear()
        wire.close(CLOSE_AGAIN)
        wire.until(lambda: sessions(wire) == 2, 120)
    assert wire.answers()


def test_a_damaged_stream_costs_the_connection_only(wire: Wire) -> None:
    wire.start()

    async def damage() -> None:
        assert wire.gateway._socket is not None
        await wire.gateway._socket.send_bytes(b"no zlib\x00\x00\xff\xff")

    wire.gateway.ready.clear()
    wire.do(damage())
    wire.until(wire.gateway.ready.is_set)
    assert wire.answers()


def test_a_resumption_without_data_counts(wire: Wire) -> None:
    wire.start()

    async def resume(packet: dict[str, Any]) -> bool:
        if packet["op"] != RESUME:
            return False
        return await wire.gateway._send({"op": 0, "t": "RESUMED", "s": 9})

    wire.gateway.refuse = resume
    wire.close(CLOSE_AGAIN)
    wire.until(lambda: RESUME in wire.gateway.heard)
    assert wire.answers()
    assert sessions(wire) == 1


# -------------------------------------------------------------------------- status line


@pytest.fixture
def presences(wire: Wire) -> list[dict[str, Any]]:
    """What was shown beside the bot's name in the present session."""
    shown: list[dict[str, Any]] = []
    hear = wire.gateway._hear

    async def note(packet: dict[str, Any]) -> None:
        if packet["op"] == IDENTIFY:
            shown.clear()
        if packet["op"] == PRESENCE:
            shown.extend(packet["d"]["activities"])
        await hear(packet)

    wire.gateway._hear = note  # type: ignore[method-assign]
    return shown


def test_the_status_line_is_there_in_the_next_session(
    wire: Wire, presences: list[dict[str, Any]]
) -> None:
    wire.start()
    wire.until(lambda: any("imagine" in line["state"] for line in presences))
    wire.packet({"op": 9, "d": False})
    wire.until(lambda: sessions(wire) == 2)
    wire.until(lambda: any("imagine" in line["state"] for line in presences))


def test_a_connection_that_ends_while_the_status_line_is_set(
    wire: Wire, presences: list[dict[str, Any]]
) -> None:
    wire.start()
    wire.packet({"op": 9, "d": False})
    wire.until(lambda: sessions(wire) == 2)
    wire.until(lambda: any("imagine" in line["state"] for line in presences))
    assert not wire.errors()


# -------------------------------------------------------------------- refused for good


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackDiscord]:
    """Discord for a bot that is run in this process."""
    with LoopbackDiscord() as discord_:
        monkeypatch.setenv("DISCORD_TOKEN", TOKEN)
        monkeypatch.setattr(discord.http.Route, "BASE", discord_.url)
        gateway = yarl.URL(discord_.gateway_url)
        monkeypatch.setattr(discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", gateway)
        yield discord_


@pytest.fixture
def config(overrides: dict[str, Any], tmp_path: Path) -> Path:
    file = tmp_path / "bot.toml"
    file.write_text(toml(overrides))
    return file


def last_line(config: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a bot that ends by itself; what it says last."""
    assert main(["--config", str(config)]) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert TOKEN not in said
    return said.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (4004, "DISCORD_TOKEN"),
        (4010, "shard"),
        (4011, "shard"),
        (4012, "version"),
        (4013, "intents"),
        (4014, "intents"),
    ],
)
@pytest.mark.parametrize("later", [False, True], ids=["at the start", "while it runs"])
def test_what_is_refused_for_good_is_said_in_words(
    loopback: LoopbackDiscord,
    config: Path,
    capsys: pytest.CaptureFixture[str],
    code: int,
    word: str,
    later: bool,
) -> None:
    gateway = loopback._gateway
    begin = gateway._begin

    async def refuse(packet: dict[str, Any]) -> bool:
        if later:
            await begin()
        await gateway.close(code)
        return True

    gateway.refusal = refuse
    line = last_line(config, capsys)
    assert word in line.replace("Shard ID None", "")
    assert gateway.ops.count(IDENTIFY) == 1


# ------------------------------------------------------------------- the start's requests


@pytest.mark.parametrize("odd", [*ODD, "cut off"])
@pytest.mark.parametrize("path", ["/users/@me", "/oauth2/applications/@me"])
def test_a_login_that_is_not_answered_is_one_line(
    loopback: LoopbackDiscord,
    config: Path,
    capsys: pytest.CaptureFixture[str],
    path: str,
    odd: str,
) -> None:
    async def answer(call: Any, done: bool) -> int | None:
        if call.path == path and not done:
            raise _answer(odd)
        return None

    loopback.hook(answer)
    assert "Discord" in last_line(config, capsys)


@pytest.mark.parametrize("odd", [*ODD, "cut off"])
def test_a_start_without_the_list_of_commands(wire: Wire, odd: str) -> None:
    async def answer(call: Any, done: bool) -> int | None:
        if call.path.endswith(("/commands", "/gateway/bot")) and not done:
            raise _answer(odd)
        return None

    wire.discord.hook(answer)
    wire.start()
    assert wire.answers()
    assert "Traceback" not in wire.said()


def _answer(odd: str) -> Answer | Reset:
    return Reset() if odd == "cut off" else ODD[odd]()
