"""Bytes from the hub to a file, going on where an earlier attempt stopped."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx2
from huggingface_hub import constants, get_session, hf_raise_for_status
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # loaded lazily

from engine.checkpoints.hub.http_errors import is_temporary

OnProgress = Callable[[str, int, int], None]
"""Called with what is done ("download", "verify", …), the bytes done, and the bytes in all."""

_BLOCK: Final = 2**22
_TRIES: Final = 5


def resume_download(
    url: str, partial: Path, size: int, *, on_progress: OnProgress, pause_s: float
) -> None:
    """Add to a file what it lacks.

    A broken connection is tried again after a pause, as often as it brings anything, and five
    times when it does not. What has arrived stays in the file, whatever happens.

    Args:
        url: of the whole file.
        partial: what is there of it, or nothing yet.
        size: bytes of the whole file.
        on_progress: is told after each block.
        pause_s: seconds between two attempts.

    Raises:
        httpx2.TransportError, HfHubHTTPError: the last attempt's.
        OSError: the file cannot be written.
    """
    if size_of(partial) > size:
        partial.unlink()
    tries = _TRIES
    while (before := size_of(partial)) < size:
        try:
            _request_rest(url, partial, before, size, on_progress)
        except (httpx2.TransportError, HfHubHTTPError) as error:
            if isinstance(error, HfHubHTTPError) and not is_temporary(error):
                raise
            tries = _TRIES if size_of(partial) > before else tries - 1
            if not tries:
                raise
            time.sleep(pause_s)


def sha256_of(path: Path, on_progress: OnProgress) -> str:
    """The SHA-256 of a file's contents in hex digits; on_progress is told "verify"."""
    digest = hashlib.sha256()
    size, done = size_of(path), 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            done += len(block)
            on_progress("verify", done, size)
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def _request_rest(url: str, partial: Path, before: int, size: int, on_progress: OnProgress) -> None:
    # The pinned address of the hub, not the one it redirects to: that one expires.
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if before:
        headers["Range"] = f"bytes={before}-"
    with get_session().stream(
        "GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
    ) as response:
        hf_raise_for_status(response)
        # A server may send everything instead of what was asked for.
        resumed = response.status_code == httpx2.codes.PARTIAL_CONTENT
        done = before if resumed else 0
        with partial.open("ab" if resumed else "wb") as output:
            for block in response.iter_bytes():
                output.write(block)
                done += len(block)
                on_progress("download", done, size)
