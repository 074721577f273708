"""Settings of prompt expansion.

Every setting, its range and its default stand here once; the bot's settings embed `ServerSettings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator

from common.settings import (
    Allowed,
    Section,
    SettingsModel,
    StrictFloat,
    StrictInt,
    allowed_words,
    bounds_of,
)
from prompt_expansion.address import OPENAI_HOST
from prompt_expansion.errors import ExpansionError

Backend = Literal["offline", "openai", "none"]
BACKENDS: Final[tuple[Backend, ...]] = get_args(Backend)


class ExpansionSettingsError(ExpansionError, ValueError):
    """A setting has a value it may not have.

    Attributes:
        key: Name of the setting.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key} {message}")
        self.key = key


def _check_base_url(address: str) -> str:
    if not _is_http_address(address):
        raise ValueError("not an http or https address without user and password")
    return address.rstrip("/")


BaseUrl = Annotated[
    str,
    AfterValidator(_check_base_url),
    Allowed("an http:// or https:// address without a user name or password"),
]
ServerModel = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    Allowed("a model's name of 1 to 200 characters"),
]


class ServerSettings(Section):
    """The expansion backend, and the server that it asks."""

    backend: Backend = "offline"
    """`offline` (rules), `openai` (a server) or `none` (prompts stay as they are)."""
    base_url: BaseUrl | None = None
    """Address of an OpenAI-compatible server, `/v1` included; it may have a query string such as
    `?api-version=…`. None: OpenAI's own."""
    model: ServerModel | None = None
    """The server's name for the model; needed by `openai`."""
    api_key: Annotated[SecretStr | None, Allowed("a text")] = Field(
        default=None, repr=False, exclude=True
    )
    """Needed for OpenAI's own server; most local servers take none. It is sent over https:// or to
    this machine, and nowhere else."""
    timeout_s: StrictFloat = Field(default=10.0, ge=0.1, le=300)
    """Seconds until the user's own words are used instead, one retry included. They count from when
    the server is asked, which happens in turn."""
    max_tokens: StrictInt = Field(default=2048, ge=16, le=32_768)
    """Longest answer to ask the server for, in its tokens, reasoning included. The default is
    enough for most reasoning models, and about as much as a hosted model writes within the time
    limit. Others end long before, after the 40 words that they are asked for."""

    @property
    def key(self) -> str | None:
        """The API key in clear."""
        return None if self.api_key is None else self.api_key.get_secret_value()

    @property
    def asks_openai(self) -> bool:
        """True if the server is OpenAI's own rather than a compatible one."""
        return self.base_url is None or urlsplit(self.base_url).hostname == OPENAI_HOST


class ExpansionSettings(ServerSettings, SettingsModel):
    """The settings of prompt expansion, complete: a server has all that is needed to ask it.

    Raises:
        ExpansionSettingsError: For a value outside its range, or one that is missing.
    """

    @classmethod
    def refusal(cls, key: str, fault: Mapping[str, Any]) -> ExpansionSettingsError:
        """Name the setting and what is allowed; the value may be a secret."""
        field = cls.model_fields.get(key)
        if field is None:
            return ExpansionSettingsError(key, "is no setting of this name")
        bounds = bounds_of(field)
        allowed = f"between {' and '.join(bounds)}" if bounds else allowed_words(field)
        return ExpansionSettingsError(key, f"must be {allowed}")

    @model_validator(mode="after")
    def _check_server(self) -> Self:
        if self.backend != "openai":
            return self
        if self.model is None:
            raise ExpansionSettingsError("model", "must name the server's model for backend openai")
        if self.key is not None and not _is_header_value(self.key):
            raise ExpansionSettingsError(
                "api_key", "must be printable ASCII without spaces, and not empty"
            )
        if self.asks_openai and self.key is None:
            raise ExpansionSettingsError(
                "api_key", "must be set (OPENAI_API_KEY) unless base_url names a server of your own"
            )
        return self


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
        # A password with a "/" in it ends the host too early, and its rest would be shown.
        and "@" not in parts.netloc + parts.path + parts.fragment
    )


def _is_header_value(key: str) -> bool:
    return bool(key) and key.isascii() and key.isprintable() and " " not in key
