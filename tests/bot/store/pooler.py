"""pgbouncer in front of a throw-away PostgreSQL server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.bot.store.databases import PostgresServer, server_user

_START_S = 20.0


def pgbouncer() -> str:
    """The program's path; skips the test where it is missing."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.skip("pgbouncer is not installed (Debian's package pgbouncer)")
    return found


@contextmanager
def pooler(server: PostgresServer, mode: str, *settings: str) -> Iterator[int]:
    """A pooler of that mode, otherwise with its defaults and these lines; the port it listens on.

    Skips the test where the server is not reached through a socket's folder, or not installed.
    """
    program = pgbouncer()
    places = parse_qs(urlsplit(server.url).query).get("host")
    if not places:
        pytest.skip("the PostgreSQL server of the environment is not behind a socket's folder")
    folder = Path(tempfile.mkdtemp(prefix="floor33-pgb-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    (folder / "users.txt").write_text('"floor33" ""\n', encoding="ascii")
    lines = [
        "[databases]",
        f"* = host={places[0]} user=floor33",
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        f"listen_port = {port}",
        "auth_type = any",
        f"auth_file = {folder}/users.txt",
        "unix_socket_dir =",
        f"pool_mode = {mode}",
        *settings,
    ]
    (folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n", encoding="ascii")
    user = server_user()  # it refuses to run as root, too
    if user is not None:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, user)
    process = subprocess.Popen(
        [program, str(folder / "pgbouncer.ini")],
        user=user,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, "pgbouncer has ended"
            assert time.monotonic() < deadline, "pgbouncer does not listen"
            time.sleep(0.02)
        else:
            return
