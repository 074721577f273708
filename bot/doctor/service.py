"""Checks of the service's needs: database server, address, log, retention."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx2

from bot.doctor.report import DiagnosticResult, Status
from bot.settings import OperationsSettings, RetentionSettings, Settings
from bot.store import StoreError
from bot.store.backends.postgres import server_version, shown

_ANSWER_S: Final = 6.0
"""A little longer than a bot waits for its own checks."""


async def check_service(settings: Settings) -> list[DiagnosticResult]:
    """Run every check of these; nothing is written, and no port is kept."""
    checks = [] if settings.database.url is None else [await _server(settings)]
    return checks + await asyncio.to_thread(lambda: [*_local(settings)])


async def _server(settings: Settings) -> DiagnosticResult:
    address = str(settings.database_location)
    try:
        version = await server_version(address)
    except StoreError as error:
        return DiagnosticResult(
            "database", Status.FAIL, str(error), "docs/operations.md tells how to set it up."
        )
    return DiagnosticResult("database", Status.OK, f"{shown(address)}, PostgreSQL {version}")


def _local(settings: Settings) -> Iterator[DiagnosticResult]:
    if settings.operations.port:
        yield _address(settings.operations)
    if settings.log.file is not None:
        yield _log_file(settings.log.file)
    yield _retention(settings.retention)


def _address(wanted: OperationsSettings) -> DiagnosticResult:
    place = (
        f"[{wanted.host}]:{wanted.port}" if ":" in wanted.host else f"{wanted.host}:{wanted.port}"
    )
    try:
        found = socket.getaddrinfo(wanted.host, wanted.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(found[0], found[1]) as tried:
            tried.bind((wanted.host, 0))
    except OSError as error:
        return DiagnosticResult(
            "operations",
            Status.FAIL,
            f"{wanted.host} is no address of this machine: {error.strerror or error}",
            "Set operations.host to one, for example 127.0.0.1.",
        )
    with socket.socket(found[0], found[1]) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(found[4])
        except OSError as error:
            running = _running_bot(place)
            if running is not None:
                return DiagnosticResult(
                    "operations", Status.OK, f"a bot runs at http://{place}: {running}"
                )
            return DiagnosticResult(
                "operations",
                Status.WARN,
                f"{place} is in use: {error.strerror or error}",
                "No bot answers there. Set operations.port to another port.",
            )
    return DiagnosticResult(
        "operations", Status.OK, f"http://{place}/metrics, /healthz and /readyz"
    )


def _running_bot(place: str) -> str | None:
    """Return the readiness report of the bot that runs there; None if no bot answers."""
    try:
        answer = httpx2.get(f"http://{place}/readyz", timeout=_ANSWER_S, trust_env=False)
        checks = answer.json()["checks"]
        return "; ".join(f"{name}: {found['detail']}" for name, found in checks.items())
    except (httpx2.HTTPError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _log_file(file: Path) -> DiagnosticResult:
    place = next(path for path in (file, *file.parents) if path.exists())
    writable = os.access(place, os.W_OK) and place.is_dir() != (place == file)
    if not writable:
        return DiagnosticResult(
            "log file",
            Status.FAIL,
            f"{file} cannot be written",
            "Set log.file to a file that can, or leave it out.",
        )
    return DiagnosticResult("log file", Status.OK, str(file))


def _retention(wanted: RetentionSettings) -> DiagnosticResult:
    limits = [
        *([f"{wanted.max_age_days} days"] if wanted.max_age_days else []),
        *([f"{wanted.max_gb:g} GB"] if wanted.max_gb else []),
    ]
    kept = f"clips that nobody rated are kept for {' or '.join(limits)}"
    return DiagnosticResult("retention", Status.OK, kept if limits else "clips are kept for ever")
