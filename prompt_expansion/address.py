"""Turn the address of a chat server, as operators paste it, into the one that is asked."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit, urlunsplit

OPENAI_HOST: Final = "api.openai.com"

_METHODS: Final = re.compile(
    r"/(?:chat/completions|chat|completions|responses|models|embeddings)/*$"
)
_VERSION: Final = re.compile(r"/v\d\w*(?:/|$)")
_AZURE_HOSTS: Final = (".openai.azure.com", ".cognitiveservices.azure.com", ".azure-api.net")
_PRIVATE_SUFFIXES: Final = (".localhost", ".local", ".lan", ".internal", ".home.arpa", ".test")


def base_urls(base_url: str) -> tuple[str, ...]:
    """Return the addresses below which a server may take chat completions, the likeliest first.

    Later ones are for a `base_url` without its version (`http://host:8080`). The query string is
    left out.
    """
    parts = urlsplit(base_url)
    path = re.sub(r"/{2,}", "/", parts.path).rstrip("/")
    path = _METHODS.sub("", path)
    paths = [path]
    if not _VERSION.search(path):
        paths = [f"{path}/v1"] if parts.hostname == OPENAI_HOST else [path, f"{path}/v1", "/v1"]
    return tuple(
        dict.fromkeys(urlunsplit((parts.scheme, parts.netloc, each, "", "")) for each in paths)
    )


def is_this_machine(base_url: str) -> bool:
    """Return whether what is sent to `base_url` does not leave this machine."""
    host = _host(base_url)
    if (address := _ip_address(host)) is not None:
        return address.is_loopback or address.is_unspecified
    return host == "localhost" or host.endswith(".localhost")


def is_private(base_url: str) -> bool:
    """Return whether a server is on this machine or in a local network, judged by its name."""
    host = _host(base_url)
    if (address := _ip_address(host)) is not None:
        return not address.is_global
    return "." not in host or host.endswith(_PRIVATE_SUFFIXES)


def may_have_key(base_url: str) -> bool:
    """Return whether a key can be sent to `base_url` so that nobody on the way reads it."""
    return urlsplit(base_url).scheme == "https" or is_this_machine(base_url)


def wants_azure_header(base_url: str) -> bool:
    """Return whether a server takes its key in Azure's own header."""
    return _host(base_url).endswith(_AZURE_HOSTS)


def without_secrets(address: str) -> str:
    """Return an address without user name, password, query string and fragment."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "an invalid address"
    host = parts.netloc.rpartition("@")[2]
    query = "…" if parts.query else ""
    return urlunsplit((parts.scheme, host, parts.path, query, ""))


def advice(base_url: str, *, has_key: bool) -> str | None:
    """Return one sentence about what looks wrong with `base_url`; None if nothing does."""
    parts = urlsplit(base_url)
    if has_key and not may_have_key(base_url):
        return (
            "OPENAI_API_KEY is not sent to this server, because http:// would show it to everybody "
            "on the way. Use https://, or unset the key if the server takes none."
        )
    if _METHODS.search(parts.path):
        return "Leave out what follows /v1: base_url ends with the version, such as /v1."
    is_azure = wants_azure_header(base_url) or "/openai/deployments/" in parts.path
    if not is_azure and not _VERSION.search(parts.path):
        return f"Most servers want /v1 at the end: {without_secrets(base_url).rstrip('/…?')}/v1"
    return None


def _host(base_url: str) -> str:
    return (urlsplit(base_url).hostname or "").rstrip(".").casefold()


def _ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
