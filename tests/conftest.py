"""Fixtures that every package's tests share."""

import os
import signal
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> None:
    """Programs that tests start hear Ctrl-C, even if the tests run in a shell's background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of recorded reference values: ``FLOOR33_GOLDEN``, else ``../shared/golden``."""
    default = REPOSITORY.parent / "shared" / "golden"
    folder = Path(os.environ.get("FLOOR33_GOLDEN") or default)
    if not folder.is_dir():
        pytest.skip(f"no recorded reference values at {folder}; set FLOOR33_GOLDEN to their folder")
    return folder
