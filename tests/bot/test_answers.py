"""What an answer of Discord's HTTP interface means, whatever stands in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from bot.messages.answers import (
    DiscordRefusedError,
    DiscordUnavailableError,
    UploadTooLargeError,
    call,
)
from tests.bot.faults import fail
from tests.bot.test_loopback import Studio, studio
from tests.loopback_discord import Call
from tests.loopback_discord.answers import ODD, Reset, error, html, limited, raw
from tests.loopback_discord.state import CHANNEL_ID

__all__ = ["studio"]

Answer = Callable[[], Exception]

REFUSALS = [
    (400, 30046),
    (400, 40006),
    (400, 50006),
    (400, 50035),
    (400, 50083),
    (400, 50109),
    (400, 20009),
    (400, 200_000),
    (400, 200_001),
    (401, 50027),
    (403, 50001),
    (403, 50013),
    (403, 160_005),
    (404, 10003),
    (404, 10004),
    (404, 10008),
    (404, 10015),
    (429, 30046),
]
NO_WORD: dict[str, Answer] = {
    **{f"page {status}": lambda status=status: html(status) for status in (400, 401, 403, 404)},
    **{f"page {status}": lambda status=status: html(status) for status in (408, 429, 520)},
    "page of 429 by way of Google": lambda: html(429, via=True),
    **{f"{name} with 403": lambda body=body: raw(403, body) for name, body in [
        ("nothing", b""), ("null", b"null"), ("{}", b"{}"), ("[]", b"[]"), ("cut", b'{"code": 5')
    ]},
    "text with 404": lambda: raw(404, b"no such host", "text/plain"),
    "refused token": lambda: error(401, 0, "401: Unauthorized"),
    "too long a limit": lambda: limited(600.0),
    "cut": Reset,
    **{f"200 {name}": answer for name, answer in ODD.items() if name not in ("object", "text")},
}  # fmt: skip


async def ask(studio: Studio, timeout_s: float = 30.0) -> None:
    """Send a message, as an answer to which the library wants a whole one."""
    channel = studio.bot.get_partial_messageable(CHANNEL_ID)
    await call(studio.bot, lambda: channel.send("hello"), timeout_s=timeout_s)


async def test_what_discord_refuses(studio: Studio) -> None:
    for status, code in REFUSALS:
        fail(studio, lambda _: True, lambda status=status, code=code: error(status, code))
        with pytest.raises(DiscordRefusedError) as raised:
            await ask(studio)
        assert (raised.value.status, raised.value.code) == (status, code)
        assert not isinstance(raised.value, UploadTooLargeError)


async def test_a_message_too_old_to_edit_is_no_rate_limit_to_be_waited_for(studio: Studio) -> None:
    """Discord has been seen to say it with status 429, and seconds that change nothing."""
    for retry_after in (0.5, 900.0):
        fields = {"retry_after": retry_after, "global": False}
        met = fail(
            studio,
            lambda _: True,
            lambda fields=fields: error(429, 30046, "Maximum number of edits reached", **fields),
            times=9,
        )
        with pytest.raises(DiscordRefusedError) as raised:
            await ask(studio)
        assert raised.value.code == 30046
        assert len(met) == 1


async def test_who_says_too_large_is_believed(studio: Studio) -> None:
    answers: list[Answer] = [lambda: error(413, 40005), lambda: error(400, 40005)]
    answers += [lambda: error(413), lambda: html(413), lambda: raw(413, b"too large", "text/plain")]
    for answer in answers:
        fail(studio, lambda _: True, answer)
        with pytest.raises(UploadTooLargeError) as raised:
            await ask(studio)
        assert "DOCTYPE" not in str(raised.value)


async def test_what_says_nothing(studio: Studio) -> None:
    for name, answer in NO_WORD.items():
        fail(studio, lambda _: True, answer)
        with pytest.raises(DiscordUnavailableError) as raised:
            await ask(studio)
        assert raised.value.unauthorized is (name == "refused token"), name
        assert raised.value.retry_after_s == (600.0 if name == "too long a limit" else 0.0), name


async def test_no_answer_is_waited_for_longer_than_said(studio: Studio) -> None:
    async def hang(_call: Call, _done: bool) -> int | None:
        await asyncio.sleep(5)
        return None

    studio.discord.hook(hang)
    with pytest.raises(DiscordUnavailableError, match=r"no answer within 0\.2 s"):
        await ask(studio, timeout_s=0.2)


async def test_a_global_limit_ends_though_who_met_it_was_given_up(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """discord.py lets nobody go on until the request that met the limit has slept."""
    monkeypatch.setattr("bot.messages.answers._GLOBAL_LIMIT_S", 0.3)
    fail(studio, lambda _: True, lambda: limited(20.0, everywhere=True))
    with pytest.raises(DiscordUnavailableError):
        await ask(studio, timeout_s=0.5)
    await ask(studio, timeout_s=5.0)


async def test_a_token_that_is_refused_is_told_to_an_operator(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    fail(studio, lambda _: True, lambda: error(401, 0, "401: Unauthorized"))
    with pytest.raises(DiscordUnavailableError):
        await ask(studio)
    await asyncio.sleep(0.1)
    assert any("DISCORD_TOKEN" in record.getMessage() for record in caplog.records)
    assert studio.bot.token_watch.refused
