"""`python -m bot doctor`: everything that keeps the bot from running, and what to do about it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Final

from bot.doctor import DiagnosticResult, Status
from bot.doctor.discord import check_discord
from bot.doctor.machine import check_machine
from bot.doctor.models import check_expansion, check_models, check_warm_up
from bot.doctor.privacy import check_privacy, make_private
from bot.doctor.service import check_service
from bot.settings import Settings
from bot.settings.engine import engine_settings, expansion_settings
from bot.settings.known_secrets import secrets_of
from bot.settings.secrets import Redactor
from engine.serving import Engine, EngineSettingsError
from prompt_expansion import ExpansionSettingsError

_MARKS: Final = {Status.OK: "ok  ", Status.WARN: "warn", Status.FAIL: "FAIL"}


async def examine(settings: Settings) -> list[DiagnosticResult]:
    """Run all checks, in the order in which they are shown."""
    checks = []
    try:
        engine = Engine(engine_settings(settings))
    except EngineSettingsError as error:
        checks.append(
            DiagnosticResult("engine", Status.FAIL, str(error), "Correct it in bot.toml, [engine].")
        )
    else:
        checks += check_machine(settings, engine)
        checks.append(check_privacy(settings))
        checks += check_models(settings, engine)
        checks.append(check_warm_up(settings, engine))
        await engine.close()
    try:
        expansion_settings(settings)
        checks.append(check_expansion(settings))
    except ExpansionSettingsError as error:
        advice = "Correct it in bot.toml, [expansion]."
        checks.append(DiagnosticResult("prompt expansion", Status.FAIL, str(error), advice))
    return checks + await check_service(settings) + await check_discord(settings)


def run_doctor(settings: Settings, *, as_json: bool, fix: bool = False) -> int:
    """Examine, print, and return the exit code: 0 if the bot could run, else 1.

    `fix`: first make the bot's files private; nothing else is mended.
    """
    if fix:
        make_private(settings)
    redacted = Redactor(secrets_of(settings))
    checks = [
        replace(
            check,
            detail=redacted(check.detail),
            advice=None if check.advice is None else redacted(check.advice),
        )
        for check in asyncio.run(examine(settings))
    ]
    able = all(check.status is not Status.FAIL for check in checks)
    if as_json:
        print(json.dumps({"ok": able, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        _print_list(checks, able)
    return 0 if able else 1


def _print_list(checks: Sequence[DiagnosticResult], able: bool) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{_MARKS[check.status]}  {check.name:<{width}}  {check.detail}")
        if check.advice is not None:
            print(f"{'':<{width + 8}}-> {check.advice}")
    print()
    print("The bot can run." if able else "The bot cannot run yet: see the lines marked FAIL.")
