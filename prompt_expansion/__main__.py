"""Command line: show what a prompt would become."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import io
import json
import logging
import os
import sys
from collections.abc import Sequence

from pydantic import SecretStr

from command_line.codes import OK
from command_line.parser import CommandParser, command_parser
from command_line.process import guarded, run_process
from prompt_expansion.factory import make_expander
from prompt_expansion.interface import Expansion
from prompt_expansion.settings import BACKENDS, ExpansionSettings, ExpansionSettingsError

_NAMES = {"api_key": "OPENAI_API_KEY", "timeout_s": "--timeout"}
"""Settings that are no options of the same name."""


def _parser() -> CommandParser:
    defaults = ExpansionSettings()
    parser = command_parser("prompt_expansion", "Show what a prompt would become.")
    parser.add_argument("text", metavar="TEXT", help="the prompt")
    parser.add_argument("--backend", choices=BACKENDS, default=defaults.backend)
    parser.add_argument("--base-url", metavar="URL", help="an OpenAI-compatible server, with /v1")
    parser.add_argument("--model", metavar="NAME", help="the server's name for the model")
    parser.add_argument("--timeout", type=float, default=defaults.timeout_s, metavar="SECONDS")
    parser.add_argument(
        "--max-tokens",
        type=int,
        default=defaults.max_tokens,
        metavar="NUMBER",
        help="longest answer of the server, its reasoning included",
    )
    parser.add_argument("--json", action="store_true", help="print all that is known as JSON")
    return parser


async def _expand(settings: ExpansionSettings, prompt: str) -> Expansion:
    expander = make_expander(settings)
    try:
        return await expander.expand(prompt)
    finally:
        await expander.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    _write_what_the_console_cannot()
    parser = _parser()
    options = parser.parse_args(arguments)
    return guarded(lambda: _show(parser, options))


def _show(parser: CommandParser, options: argparse.Namespace) -> int:
    if not options.text.strip():
        parser.error("TEXT must not be empty")
    text = _decoded(options.text)
    if text is None:
        parser.error("TEXT is not valid UTF-8")
    try:
        settings = ExpansionSettings(
            backend=options.backend,
            base_url=options.base_url,
            model=options.model,
            api_key=SecretStr(key) if (key := os.environ.get("OPENAI_API_KEY")) else None,
            timeout_s=options.timeout,
            max_tokens=options.max_tokens,
        )
    except ExpansionSettingsError as error:
        parser.error(_in_option_names(error))
    logging.basicConfig(level=logging.ERROR)  # the fallback says what the warnings would
    expansion = asyncio.run(_expand(settings, text))
    if options.json:
        print(json.dumps(dataclasses.asdict(expansion)))
    else:
        if expansion.fallback:
            print(expansion.fallback, file=sys.stderr)
        print(expansion.text)
    return OK


def _in_option_names(error: ExpansionSettingsError) -> str:
    """The error's words with the option, or the variable, that was given the value."""
    name = _NAMES.get(error.key, f"--{error.key.replace('_', '-')}")
    text = str(error).removeprefix(f"{error.key} ")
    if error.key == "api_key":
        text = text.replace("(OPENAI_API_KEY) ", "").replace("base_url", "--base-url")
    return f"{name} {text}"


def _write_what_the_console_cannot() -> None:
    """Write letters that the console's encoding lacks as escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _decoded(text: str) -> str | None:
    """The argument as UTF-8, whatever the locale made of it; None if it is something else."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        return None


if __name__ == "__main__":
    run_process(main)
