"""Fixtures that every package's tests share."""

import os
import signal
from pathlib import Path

import pytest

from tests.golden_values import unpack

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _signals() -> None:
    """Let programs that tests start hear signals, even with nohup or in a shell's background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is not None and signal.getsignal(hang_up) is signal.SIG_IGN:
        signal.signal(hang_up, signal.SIG_DFL)


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of recorded reference values: ``FLOOR33_GOLDEN``, else ours, unpacked."""
    if elsewhere := os.environ.get("FLOOR33_GOLDEN"):
        return Path(elsewhere)
    return unpack(REPOSITORY / "tests" / "golden", tmp_path_factory.mktemp("golden"))
