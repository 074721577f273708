"""Settings of prompt expansion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

from prompt_expansion.address import OPENAI_HOST

Backend = Literal["offline", "openai", "none"]
BACKENDS: Final[tuple[Backend, ...]] = get_args(Backend)

TIMEOUT_RANGE_S: Final = (0.1, 300.0)
MAX_TOKENS_RANGE: Final = (16, 32_768)

DEFAULT_MAX_TOKENS: Final = 2048
"""Enough for most reasoning models, whose reasoning counts, and about as much as a hosted model
writes within the time limit. Others end long before, after the 40 words that they are asked for."""


class ExpansionSettingsError(ValueError):
    """A setting has a value it may not have.

    Attributes:
        key: Name of the setting.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key} {message}")
        self.key = key


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpansionSettings:
    """The settings of prompt expansion.

    Attributes:
        backend: `offline` (rules), `openai` (a server) or `none` (prompts stay as they are).
        base_url: Address of an OpenAI-compatible server, `/v1` included; it may have a query
            string such as `?api-version=…`. None: OpenAI's own.
        model: The server's name for the model; needed by `openai`.
        api_key: Needed for OpenAI's own server; most local servers take none. It is sent over
            https:// or to this machine, and nowhere else.
        timeout_s: Seconds until the user's own words are used instead, one retry included. They
            count from when the server is asked, which happens in turn.
        max_tokens: Longest answer to ask the server for, in its tokens, reasoning included.

    Raises:
        ExpansionSettingsError: For a value outside its range, or one that is missing.
    """

    backend: Backend = "offline"
    base_url: str | None = None
    model: str | None = None
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float = 10.0
    max_tokens: int = DEFAULT_MAX_TOKENS

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ExpansionSettingsError("backend", f"must be one of {', '.join(BACKENDS)}")
        low, high = TIMEOUT_RANGE_S
        if not low <= self.timeout_s <= high:
            raise ExpansionSettingsError("timeout_s", f"must be between {low:g} and {high:g}")
        fewest, most = MAX_TOKENS_RANGE
        if not fewest <= self.max_tokens <= most:
            raise ExpansionSettingsError("max_tokens", f"must be between {fewest} and {most}")
        if self.base_url is not None and not _is_http_address(self.base_url):
            raise ExpansionSettingsError(
                "base_url",
                "must be an http:// or https:// address such as http://127.0.0.1:8080/v1, without "
                "a user name or password",
            )
        if self.backend == "openai":
            self._check_server()

    def _check_server(self) -> None:
        if not self.model:
            raise ExpansionSettingsError("model", "must name the server's model for backend openai")
        if self.api_key is not None and not _is_header_value(self.api_key):
            raise ExpansionSettingsError(
                "api_key", "must be printable ASCII without spaces, and not empty"
            )
        if self.asks_openai and self.api_key is None:
            raise ExpansionSettingsError(
                "api_key", "must be set (OPENAI_API_KEY) unless base_url names a server of your own"
            )

    @property
    def asks_openai(self) -> bool:
        """True if the server is OpenAI's own rather than a compatible one."""
        return self.base_url is None or urlsplit(self.base_url).hostname == OPENAI_HOST


def _is_http_address(address: str) -> bool:
    try:
        parts = urlsplit(address)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and port_is_valid
        and address.isascii()
        and address.isprintable()
        and " " not in address
        and parts.username is None
        and parts.password is None
    )


def _is_header_value(key: str) -> bool:
    return bool(key) and key.isascii() and key.isprintable() and " " not in key
