"""Check database addresses before anything connects to them."""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, parse_qs, urlsplit

POSTGRES_SCHEMES: Final = ("postgresql", "postgres")
_LAST_PORT: Final = 65535


def check_database_url(address: str) -> None:
    """Raise ValueError unless this is the address of a database on a PostgreSQL server.

    The text says nothing of the address. Characters of a password that end a part of an address
    ("/", "@", "?", "#", "[", ":") have to be written as %2F and so on: else a part of the password
    would be taken for a name and shown.
    """
    parts = urlsplit(address)
    if parts.scheme not in POSTGRES_SCHEMES or not parts.path.strip("/"):
        raise ValueError("not the address of a PostgreSQL database")
    _check_no_password_beyond(parts)
    # One or several hosts, as the driver takes them.
    for place in parts.netloc.rpartition("@")[2].split(","):
        _check_port(place)
    if parts.query:
        options = parse_qs(parts.query, strict_parsing=True)
        for port in options.get("port", []):
            for one in port.split(","):
                _check_number(one)


def has_password(address: str) -> bool:
    """Return whether a database's address, even an unusable one, has a password in it."""
    rest = address.partition("://")[2] or address
    user, at, _ = rest.rpartition("@")
    if at and ":" in user:
        return True
    return "password" in parse_qs(address.partition("?")[2])


def _check_no_password_beyond(parts: SplitResult) -> None:
    if parts.netloc.count("@") > 1 or "@" in parts.path or "@" in parts.fragment:
        raise ValueError("a character of the password has to be written as %40, %2F, ...")


def _check_port(place: str) -> None:
    host, bracket, rest = place.rpartition("]")
    if bracket:
        if not host.startswith("[") or (rest and not rest.startswith(":")):
            raise ValueError("a bracket out of place")
        port = rest[1:]
    else:
        port = place.partition(":")[2]
    if port:
        _check_number(port)


def _check_number(port: str) -> None:
    if not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) <= _LAST_PORT:
        raise ValueError("not a port")
