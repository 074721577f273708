"""Answers for a hook of the loopback Discord that a bare status cannot express.

A hook raises one: `raise html(403)`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from tests.loopback_discord.state import Call

_VIA: Final = {"Via": "1.1 google"}
"""A header of Discord's own answers, which a page of a proxy may have as well."""


class Answer(web.HTTPException):
    """An answer with any status, body and headers."""

    status_code = 200
    empty_body = True  # no text that aiohttp would make up; the body is set here

    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.status_code = status
        super().__init__(headers=headers)
        self.body = body


class Reset(web.HTTPException):
    """The connection is cut without an answer."""

    status_code = 200

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if request.transport is not None:
            request.transport.abort()
        return await super().prepare(request)


def error(status: int, code: int = 0, message: str = "refused by the test", **more: Any) -> Answer:
    """Refuse as Discord itself does: JSON with a code."""
    return raw(status, json.dumps({"message": message, "code": code, **more}).encode(), more=_VIA)


def limited(seconds: float, *, everywhere: bool = False) -> Answer:
    """Answer 429 as Discord does, for a bucket or (everywhere) for the whole bot."""
    body = {"message": "You are being rate limited.", "retry_after": seconds, "global": everywhere}
    headers = {"Retry-After": str(max(1, int(seconds))), **_VIA}
    return raw(429, json.dumps(body).encode(), more=headers)


def html(status: int, *, via: bool = False) -> Answer:
    """Answer as something between the bot and Discord does: a page, no code."""
    page = b"<!DOCTYPE html><title>Attention Required!</title>"
    return raw(status, page, "text/html; charset=UTF-8", _VIA if via else None)


def raw(
    status: int,
    body: bytes,
    kind: str = "application/json",
    more: dict[str, str] | None = None,
) -> Answer:
    """Answer with these bytes."""
    return Answer(status, body, {"Content-Type": kind, **(more or {})})


ODD: Final[dict[str, Callable[[], Answer]]] = {
    "empty": lambda: raw(200, b""),
    "page": lambda: html(200),
    "cut": lambda: raw(200, b'{"id": "1", "chan'),
    "null": lambda: raw(200, b"null"),
    "object": lambda: raw(200, b"{}"),
    "list": lambda: raw(200, b"[]"),
    "text": lambda: raw(200, b"ok", "text/plain"),
}
"""Answers with status 200 whose body is not what was asked for."""


def has_clip(call: Call) -> bool:
    """Whether the call uploads a clip."""
    return any(name.endswith(".mp4") for name in call.files)


def is_card(call: Call) -> bool:
    """Whether the call puts or edits a card, with or without a clip."""
    to_message = bool(re.search(r"/messages(/|$)", call.path))
    return call.method in ("PATCH", "POST") and to_message and "embeds" in call.payload
