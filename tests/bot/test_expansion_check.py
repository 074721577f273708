"""What the doctor says about prompt expansion; no server is asked."""

from __future__ import annotations

from typing import Any

import pytest

from bot.doctor import DiagnosticResult, Status
from bot.doctor.models import check_expansion
from bot.settings import Settings
from bot.settings.engine import expansion_settings


def checked(**expansion: Any) -> DiagnosticResult:
    return check_expansion(Settings.load(overrides={"expansion": expansion}))


@pytest.mark.parametrize(
    ("expansion", "detail"),
    [
        ({}, "only for those who ask for it"),
        ({"enabled": True}, "for every prompt"),
        ({"backend": "none"}, "off"),
        ({"backend": "openai", "base_url": "http://127.0.0.1:8080/v1"}, "127.0.0.1:8080/v1"),
    ],
)
def test_how_prompts_are_expanded(expansion: dict[str, Any], detail: str) -> None:
    check = checked(**expansion)

    assert check.status is Status.OK
    assert detail in check.detail


@pytest.mark.parametrize(
    ("base_url", "advice"),
    [
        ("http://127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
        ("http://127.0.0.1:8080/v1/chat/completions", "Leave out"),
        ("http://192.168.1.4:8080/v1", "OPENAI_API_KEY is not sent"),
    ],
)
def test_an_address_that_looks_wrong_is_a_warning(base_url: str, advice: str) -> None:
    check = checked(backend="openai", base_url=base_url, api_key="sk-hunter2")

    assert check.status is Status.WARN
    assert check.advice is not None
    assert advice in check.advice
    assert "hunter2" not in f"{check}"


def test_a_secret_in_the_address_is_not_shown() -> None:
    check = checked(backend="openai", base_url="https://host/v1?key=hunter2")

    assert "hunter2" not in f"{check}"


def test_the_limit_of_tokens_reaches_the_expander() -> None:
    settings = Settings.load(overrides={"expansion": {"max_tokens": 4000}})

    assert expansion_settings(settings).max_tokens == 4000
