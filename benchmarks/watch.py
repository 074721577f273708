"""Runs a command and watches its memory from outside (Linux).

Of the memory that is resident, the anonymous part is the process's own; the rest are pages of
mapped files, which the system drops when it needs the memory. A program that reads a file through
a mapping so has a large resident size and little that is its own: both are told.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_INTERVAL_S: Final = 0.02
_KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Watched:
    """The result of a command: its output, wall time and peak memory.

    Attributes:
        stdout: what it printed.
        seconds: wall time from start to end.
        peak_resident: the most bytes resident at once, pages of mapped files included.
        peak_anonymous: the most bytes of its own at once, as far as sampling has seen them.
    """

    stdout: str
    seconds: float
    peak_resident: int
    peak_anonymous: int


def watch(command: Sequence[str], environment: dict[str, str] | None = None) -> Watched:
    """Run a command to its end; its stderr goes to ours.

    Raises:
        RuntimeError: it ended with another code than 0.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
    )
    assert process.stdout is not None
    status = Path(f"/proc/{process.pid}/status")
    resident = anonymous = 0
    while process.poll() is None:
        # Not ru_maxrss: what the parent held when it started the child counts there, too.
        now = _memory(status)
        resident = max(resident, now.get("VmHWM", 0))
        anonymous = max(anonymous, now.get("RssAnon", 0))
        time.sleep(_INTERVAL_S)
    seconds = time.perf_counter() - began
    stdout = process.stdout.read()
    process.stdout.close()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with code {process.returncode}")
    return Watched(stdout, seconds, resident, anonymous)


def _memory(status: Path) -> dict[str, int]:
    """The sizes in a process's status, in bytes; none once it has ended."""
    lines = status.read_text(encoding="ascii", errors="replace").splitlines()
    words = [line.split() for line in lines]
    return {word[0].rstrip(":"): int(word[1]) * _KIB for word in words if word[2:] == ["kB"]}
