"""``python -m prompt_expansion``, as a process of its own and in this one."""

import asyncio
import json
import os
import subprocess
import sys

import pytest

from prompt_expansion.__main__ import main


def test_json_has_what_programs_read(capsys):
    assert main(["a cat surfing", "--json"]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"text", "original", "tokens", "backend", "language", "fallback"}
    assert printed["text"].startswith("a cat surfing, ")
    assert printed["backend"] == "offline"


def test_plain_output_is_the_text(capsys):
    assert main(["夜の森を走る狐", "--backend", "none"]) == 0

    assert capsys.readouterr().out == "夜の森を走る狐\n"


async def test_a_server_can_be_asked(chat_server, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    chat_server.say("a cat surfing a tall wave")
    command = ["a cat surfing", "--backend", "openai", "--base-url", chat_server.base_url]

    code = await asyncio.to_thread(main, [*command, "--model", "tiny"])

    assert code == 0
    assert capsys.readouterr().out == "a cat surfing a tall wave\n"


async def test_a_failing_server_is_told_on_stderr(chat_server, capsys):
    chat_server.answer(503, "{}")
    command = ["a cat surfing", "--backend", "openai", "--base-url", chat_server.base_url]

    code = await asyncio.to_thread(main, [*command, "--model", "tiny"])

    printed = capsys.readouterr()
    assert code == 0
    assert printed.out == "a cat surfing\n"
    assert printed.err == (
        "The expansion server answered with an error (status 503); your own words are used.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "TEXT"),
        ([" "], "TEXT must not be empty"),
        (["half a pair \ud83d"], "TEXT is not valid UTF-8"),
        (["a cat", "--backend", "magic"], "'offline', 'openai', 'none'"),
        (["a cat", "--timeout", "soon"], "soon"),
        (["a cat", "--max-tokens", "2"], "--max-tokens must be between 16 and 32768"),
        (["a cat", "--timeout", "-1"], "--timeout must be between 0.1 and 300"),
        (["a cat", "--backend", "openai", "--base-url", "http://127.0.0.1/v1"], "--model must"),
        (["a cat", "--colour"], "--colour"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(capsys, arguments, complaint):
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert complaint in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "prompt_expansion", "a cat surfing", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(done.stdout)["language"] == "en"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [sys.executable, "-m", "prompt_expansion", *arguments],
        env=mine | environment,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437", "cp932", "latin-1", "koi8-r"])
@pytest.mark.parametrize("prompt", ["夜の森を走る狐", "ein Zug fährt, 🙂", "кот спит"])
def test_consoles_without_the_letters_of_the_prompt(encoding, prompt):
    """discord.py#5158, mcp-discord#22: consoles of Windows."""
    done = run(prompt, PYTHONIOENCODING=encoding)

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.strip()


def test_a_locale_without_letters():
    """The prompt comes as bytes then, and is still understood."""
    done = run("夜の森を走る狐", "--json", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")

    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["original"] == "夜の森を走る狐"


async def test_another_server_is_not_taken_from_the_environment(chat_server, capsys, monkeypatch):
    """What the shell has set for other programs moves no prompts."""
    monkeypatch.setenv("OPENAI_BASE_URL", chat_server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-shell")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    chat_server.say("a cat surfing a tall wave")

    code = await asyncio.to_thread(main, ["a cat surfing", "--backend", "openai", "--model", "m"])

    assert code == 0
    assert chat_server.requests == []
    assert "could not be reached" in capsys.readouterr().err


async def test_the_limit_of_tokens_can_be_set(chat_server, capsys):
    chat_server.say("a cat surfing a tall wave")
    command = ["a cat surfing", "--backend", "openai", "--base-url", chat_server.base_url]

    await asyncio.to_thread(main, [*command, "--model", "tiny", "--max-tokens", "4000"])

    assert chat_server.requests[0]["max_tokens"] == 4000


def test_importing_loads_neither_the_sdk_nor_a_model_framework():
    heavy = "{'openai', 'torch', 'discord'} & set(sys.modules)"
    code = f"import sys, prompt_expansion.__main__; print({heavy})"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"
