"""The settings of running the bot as a service: database, log, operations, retention."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints

from bot.settings.addresses import check_database_url
from bot.settings.fields import Table, check_path, upper
from common.settings import Allowed, StrictFloat, StrictInt


def _check_database_url(value: SecretStr | None) -> SecretStr | None:
    if value is not None:
        check_database_url(value.get_secret_value())
    return value


class DatabaseSettings(Table):
    """`[database]`."""

    url: Annotated[
        SecretStr | None,
        AfterValidator(_check_database_url),
        Allowed(
            "a postgresql:// address with the name of a database and %-escapes in its password",
            none="SQLite",
        ),
    ] = Field(default=None, repr=False)


class LogSettings(Table):
    """`[log]`."""

    level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(upper)] = "INFO"
    format: Literal["text", "json"] = "text"
    file: Annotated[
        Path | None,
        BeforeValidator(check_path),
        Allowed("the path of a file", none="none"),
    ] = None
    max_mb: StrictInt = Field(default=50, ge=1, le=100_000)
    keep: StrictInt = Field(default=5, ge=0, le=1000)


class OperationsSettings(Table):
    """`[operations]`."""

    host: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Za-z0-9.:-]{1,253}$"),
        Allowed("an address or name of this machine"),
    ] = "127.0.0.1"
    port: StrictInt = Field(default=0, ge=0, le=65535)
    allowed_hosts: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,253}$")], ...] | None,
        Allowed("a list of host names, without ports", none="none"),
    ] = None


class RetentionSettings(Table):
    """`[retention]`."""

    max_age_days: StrictInt = Field(default=0, ge=0, le=36_500)
    max_gb: StrictFloat = Field(default=0.0, ge=0, le=1_000_000)
