"""What `python -m bot`, `engine`, `training` and `prompt_expansion` have in common."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("bot", "engine", "prompt_expansion", "training")
HEAVY = ("aiohttp", "diffusers", "discord", "torch", "transformers")
RECIPE = ("training", "plan", "demo-vae", "--gpu", "h100")


def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "DISCORD_TOKEN"}
    return kept | {"PYTHONPATH": str(ROOT), "FLOOR33_DATA_DIR": str(tmp_path / "data")}


def run(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("module", MODULES)
def test_the_version_is_the_distributions(module: str, tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    done = run(tmp_path, module, "--version")
    said = f"{project['name']} {project['version']}\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


@pytest.mark.parametrize("module", MODULES)
def test_help_does_not_wait_for_what_is_heavy(module: str, tmp_path: Path) -> None:
    script = f"""if True:
        import runpy, sys
        sys.argv = ["{module}", "--help"]
        try:
            runpy.run_module("{module}", run_name="not main")["main"](["--help"])
        except SystemExit as end:
            assert end.code == 0
        print(*(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)
    """
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "usage: python -m " in done.stdout
    assert done.stderr.strip() == ""


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("engine",), ("models", "generate", "install")),
        (("training",), ("run", "plan", "evaluate")),
        (("training", "data"), ("check", "precompute")),
    ],
)
def test_a_command_that_is_left_out_lists_the_commands(
    words: tuple[str, ...], named: tuple[str, ...], tmp_path: Path
) -> None:
    done = run(tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert all(name in done.stderr for name in named)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bot", "dance"), "dance"),
        (("bot", "forget", "me"), "'me' is no user's id"),
        (("bot", "--config", "nowhere.toml", "doctor"), "nowhere.toml: No such file"),
        (("bot", "sync"), "DISCORD_TOKEN is not set"),
        (("bot", "restore", "nowhere.db"), "no backup at nowhere.db"),
        (("engine", "models", "--colour"), "--colour"),
        (("engine", "generate", "--model", "demo-t2v"), "--prompt"),
        (("engine", "info", "nothing"), "nothing"),
        (("engine", "convert", "nowhere.ckpt", "--preset", "t2v-512", "--output", "x"), "nowhere"),
        (("engine", "merge", "demo-t2v", "--lora", "nowhere", "--output", "x"), "--lora nowhere"),
        (("engine", "models", "--model-dir", "mine=nowhere"), "--model-dir mine=nowhere"),
        (("training", "run", "no-such-recipe"), "no-such-recipe"),
        (("training", "run", "demo-vae", "--processes", "many"), "argument --processes"),
        (("training", "plan", "demo-vae", "--gpus", "2"), "--gpus"),
        (
            ("training", "export", "demo-i2v", "--run", "nowhere", "--output", "x"),
            "nowhere/model does",
        ),
        (("training", "data", "check", "nowhere"), "nowhere does not exist"),
        (("training", "data", "check", ".", "--size", "wide"), "--size"),
        (("training", "data", "check", ".", "--multiple", "0"), "--multiple"),
        (("prompt_expansion", "a cat", "--max-tokens", "1"), "--max-tokens must be"),
        (("prompt_expansion", "a cat", "--backend", "openai"), "--model must"),
    ],
)
def test_wrong_usage_is_one_line_that_names_what_was_typed(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    done = run(tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert said in done.stderr


PRINTING = [
    ("bot", "doctor"),
    ("bot", "doctor", "--json"),
    ("bot", "export", "1"),
    ("bot", "--version"),
    ("engine", "models", "--json"),
    ("engine", "info", "demo-t2v"),
    ("engine", "generate", "--help"),
    RECIPE,
    ("prompt_expansion", "a cat surfing", "--json"),
]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end in another way there")
@pytest.mark.parametrize("words", PRINTING, ids=" ".join)
def test_a_reader_that_has_gone_ends_a_command_quietly(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", *words],
            env=environment(tmp_path),
            cwd=tmp_path,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=300,
            check=False,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_streams_that_are_closed_from_the_start_do_not_matter(closed: str, tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m engine models --json {closed}'
    done = subprocess.run(
        ["sh", "-c", command],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
