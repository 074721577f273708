"""The bot, its preview and `engine generate` end in order at whatever moment they are told to."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.bot.test_command_line import toml
from tests.loopback_discord import LoopbackDiscord

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")
ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("FLOOR33_KILLS", "3"))
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

WITH_DISCORD = """
import sys
import discord.gateway, discord.http, yarl
from bot.__main__ import main
from command_line.process import run_process

discord.http.Route.BASE = sys.argv[1]
discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(sys.argv[2])
run_process(lambda: main(["--config", sys.argv[3]]))
"""


def ended(
    command: Sequence[str | Path], number: signal.Signals, delay_s: float, **variables: str
) -> tuple[int, str]:
    """Exit code and all that was said by a program that is told to end after some seconds."""
    kept = {name: value for name, value in os.environ.items() if name != "DISCORD_TOKEN"}
    with subprocess.Popen(
        [sys.executable, *command],
        env=kept | {"PYTHONPATH": str(ROOT)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        time.sleep(delay_s)
        process.send_signal(number)
        said, _ = process.communicate(timeout=120)
    assert "Traceback" not in said, said
    assert "terminate called" not in said, said
    return process.returncode, said


def moments(seed: int, latest_s: float) -> list[tuple[signal.Signals, float]]:
    # After the first moment, in which the interpreter itself starts: a signal ends it as ever.
    chosen = random.Random(seed)
    return [
        (SIGNALS[number % len(SIGNALS)], chosen.uniform(1.5, latest_s)) for number in range(KILLS)
    ]


@pytest.mark.parametrize(("number", "delay_s"), moments(1, 15.0))
def test_a_bot_in_discord(
    overrides: dict[str, Any], tmp_path: Path, number: signal.Signals, delay_s: float
) -> None:
    config = tmp_path / "bot.toml"
    config.write_text(toml(overrides))
    with LoopbackDiscord() as discord:
        command = ["-c", WITH_DISCORD, discord.url, discord.gateway_url, config]
        code, said = ended(command, number, delay_s, DISCORD_TOKEN="loopback.token.of-no-use")
    assert code == 0 or code == -number, said


@pytest.mark.parametrize(("number", "delay_s"), moments(2, 15.0))
def test_the_preview(
    overrides: dict[str, Any], tmp_path: Path, number: signal.Signals, delay_s: float
) -> None:
    config = tmp_path / "bot.toml"
    config.write_text(toml(overrides) + "[preview]\nport = 0\n")
    code, said = ended(["-m", "bot", "--config", config], number, delay_s)
    assert code == 0, said


@pytest.mark.parametrize(("number", "delay_s"), moments(3, 10.0))
def test_a_clip(models: Path, tmp_path: Path, number: signal.Signals, delay_s: float) -> None:
    output = tmp_path / "clips" / "clip.mp4"
    command = ["-m", "engine", "generate", f"--model-dir=tiny={models / 'tiny-t2v'}"]
    rest = ["--model=tiny", "--prompt=a", "--steps=60", f"--output={output}"]
    code, said = ended([*command, *rest], number, delay_s)
    assert code in (0, 128 + number), said
    assert [path for path in tmp_path.rglob("*") if path.name.startswith(".floor33-")] == []
