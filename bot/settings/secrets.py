"""Find the secrets of the settings and of the environment, and redact them in texts."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import parse_qsl, quote, quote_plus, unquote

HIDDEN: Final = "***"
_MIN_SECRET_CHARS: Final = 4
_MIN_PART_CHARS: Final = 6
# Whole values that are secret, of this bot and of the libraries that it uses.
_SECRET_VARIABLES: Final = (
    "DISCORD_TOKEN",
    "OPENAI_API_KEY",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "PGPASSWORD",
    "PGSSLPASSWORD",
    "WANDB_API_KEY",
)
# Addresses that may have a user, a password or a key in them.
_ADDRESS_VARIABLES: Final = (
    "FLOOR33_DATABASE_URL",
    "HF_ENDPOINT",
    "OPENAI_BASE_URL",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "WS_PROXY",
    "WSS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
)
_KEY_PATTERN: Final = (
    r"(?:[\w.-]*(?:password|passwd|secret|token|signature|credential)|[\w.-]*(?:api|access|auth|"
    r"subscription|private)[-_]?key|key|code|auth|sig|pwd|pass)"
)
_SECRET_KEY: Final = re.compile(_KEY_PATTERN, re.IGNORECASE)
_PATTERNS: Final = (
    # A user's password in any address. What looks like a port is none, even where an @ follows.
    (
        re.compile(
            r"(\b[a-z][a-z0-9+.-]{0,19}://[^\s'\"<>/@:]*):(?!\d{1,5}(?:[/?#\s]|$))[^\s'\"<>]*@"
        ),
        rf"\1:{HIDDEN}@",
    ),
    # A key in the query of an address.
    (
        re.compile(rf"([?&]{_KEY_PATTERN}=)[^&\s'\"<>#]+", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
    # Whoever has an interaction's token can answer in the bot's name for a quarter of an hour.
    (re.compile(r"(/(?:webhooks|interactions)/\d+/)[^\s/?'\"<>]+"), rf"\1{HIDDEN}"),
    (
        re.compile(r"(\\?['\"](?:interaction_)?token\\?['\"]\s*[:=]\s*\\?['\"])[^'\"\\]+"),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(r"(\bAuthorization['\"]?\s*[:=]\s*['\"]?(?:Bot|Bearer|Basic)\s+)[^\s'\"]+"),
        rf"\1{HIDDEN}",
    ),
)


class Redactor:
    """Removes known secrets from texts, and anything that stands where a secret usually stands."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spelled = {form for secret in secrets for form in _spellings(secret)}
        # Longest first: a secret may be a part of another one.
        patterns = sorted(map(re.escape, spelled), key=len, reverse=True)
        self._secrets = re.compile("|".join(patterns)) if patterns else None

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        if self._secrets is not None:
            text = self._secrets.sub(HIDDEN, text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text


def secrets_of_environment(environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the secrets in the variables that the bot and its libraries read."""
    environment = os.environ if environment is None else environment
    found = []
    for name, given in environment.items():
        value = given.strip()
        if name.upper() in _SECRET_VARIABLES:
            found.append(value)
        elif name.upper() in _ADDRESS_VARIABLES:
            found += secrets_of_address(value)
    return [secret for secret in found if secret]


def secrets_of_address(address: str) -> list[str]:
    """Return passwords and keys of an address, also of one that cannot be read as an address.

    A password may hold any character, a "/", "@" or "?" too: all between the first ":" after the
    scheme and the last "@" counts, and each part of it that such a character cuts off.
    """
    rest = address.partition("://")[2] or address
    before_query, _, query = rest.partition("?")
    found = []
    for text in (before_query, rest):
        user, at, _ = text.rpartition("@")
        if not at:
            continue
        name, colon, password = user.partition(":")
        secret = password if colon else name
        if not colon and ("/" in name or "?" in name):
            continue  # an @ in a path
        parts = re.split(r"[/@?#:\[\]]", secret)
        found += [secret, *(part for part in parts if len(part) >= _MIN_PART_CHARS)]
    found += [value for key, value in parse_qsl(query) if _SECRET_KEY.fullmatch(key)]
    return list(dict.fromkeys(form for secret in found for form in (secret, unquote(secret))))


def _spellings(secret: str) -> Iterator[str]:
    """Yield the spellings of a secret: as it is, in JSON, in Python, in an address."""
    if len(secret) >= _MIN_SECRET_CHARS:
        yield secret
        yield json.dumps(secret)[1:-1]
        yield json.dumps(secret, ensure_ascii=False)[1:-1]
        yield repr(secret)[1:-1]
        yield quote(secret, safe="")
        yield quote(secret)
        yield quote_plus(secret)
