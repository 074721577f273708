"""A model hub on this machine, for tests: it answers as the public one does, or as badly as wanted.

Large files are redirected to another address, as the public hub does with its storage.
"""

from __future__ import annotations

import hashlib
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

COMMIT = "1f" * 20
OLD_COMMIT = "0e" * 20


@dataclass
class Transfer:
    """One request for contents: from which byte on, and how many were sent."""

    start: int
    sent: int = 0


@dataclass
class LoopbackHub:
    """What it has and how it behaves; both may be changed at any time.

    ``cuts`` holds for the next transfers after how many bytes each breaks; ``hold`` makes a
    transfer wait after half of its bytes until it is set.
    """

    address: str = ""
    files: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    spoiled: bool = False
    ranges: bool = True
    checksums: bool = True
    gated: bool = False
    failure: int = 0
    stated_size: int | None = None
    cuts: list[int] = field(default_factory=list)
    hold: threading.Event | None = None
    half_sent: threading.Event = field(default_factory=threading.Event)
    tokens_leaked: int = 0
    resolved: list[tuple[str, str]] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)

    def put(self, repo: str, name: str, content: bytes, commit: str = COMMIT) -> str:
        """Add a file; returns its SHA-256."""
        self.files.setdefault((repo, commit), {})[name] = content
        return hashlib.sha256(content).hexdigest()

    def content_of(self, sha256: str) -> bytes:
        for files in self.files.values():
            for content in files.values():
                if hashlib.sha256(content).hexdigest() == sha256:
                    return content
        raise KeyError(sha256)


@contextmanager
def serving() -> Iterator[LoopbackHub]:
    """A hub that is served while the block runs."""
    hub = LoopbackHub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = _Server(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        if hub.hold is not None:
            hub.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(self.path)
        if path.startswith("/storage/"):
            self._send(path.removeprefix("/storage/"))
            return
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if found is None:
            self._refuse(404, "")
            return
        self._resolve(*found.groups())

    def _resolve(self, repo: str, revision: str, name: str) -> None:
        hub = self.hub
        hub.resolved.append((self.command, revision))
        commit = hub.branches.get(revision, revision)
        known = [key for key in hub.files if key[0] == repo]
        if hub.failure:
            self._refuse(hub.failure, "")
        elif hub.gated:
            self._refuse(403, "GatedRepo")
        elif not known:
            self._refuse(401, "RepoNotFound")
        elif (repo, commit) not in known:
            self._refuse(404, "RevisionNotFound")
        elif name not in hub.files[repo, commit]:
            self._refuse(404, "EntryNotFound")
        else:
            content = hub.files[repo, commit][name]
            sha256 = hashlib.sha256(content).hexdigest()
            size = len(content) if hub.stated_size is None else hub.stated_size
            self.send_response(302)
            self.send_header("X-Repo-Commit", commit)
            self.send_header("X-Linked-Etag", f'"{sha256 if hub.checksums else sha256[:40]}"')
            self.send_header("X-Linked-Size", str(size))
            # Another host, as far as names go: to such the client must not send its token.
            storage = hub.address.replace("127.0.0.1", "localhost")
            self.send_header("Location", f"{storage}/storage/{sha256}")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, sha256: str) -> None:
        hub = self.hub
        content = hub.content_of(sha256)
        if hub.spoiled:
            content = content[:-1] + bytes([content[-1] ^ 1])
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted and hub.ranges else 0
        transfer = Transfer(int(wanted[1]) if wanted else 0)
        hub.tokens_leaked += "Authorization" in self.headers
        hub.transfers.append(transfer)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            last = len(content) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
        self.end_headers()
        rest = content[start:]
        if hub.cuts:
            rest = rest[: hub.cuts.pop(0)]
            self.close_connection = True
        half = len(rest) // 2 if hub.hold else len(rest)
        self._write(rest[:half], transfer)
        if hub.hold is not None:
            hub.half_sent.set()
            hub.hold.wait()
            self._write(rest[half:], transfer)

    def _write(self, content: bytes, transfer: Transfer) -> None:
        transfer.sent += len(content)  # before: the client may have it all and look here at once
        try:
            self.wfile.write(content)
            self.wfile.flush()
        except OSError:  # the client has gone, which some tests want
            transfer.sent -= len(content)
            self.close_connection = True
