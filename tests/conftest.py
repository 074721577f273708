"""Fixtures that every package's tests share."""

import os
import signal
from pathlib import Path

import pytest

from tests import old_names, slow_tests
from tests.golden_values import has_values, unpack

REPOSITORY = Path(__file__).resolve().parent.parent
OURS = REPOSITORY / "tests" / "golden"


def pytest_configure(config: pytest.Config) -> None:
    old_names.install()
    config.addinivalue_line("markers", "slow(reason): takes long; tests/slow_tests.py says why")
    config.addinivalue_line(
        "markers",
        "recorded(file, **parameters): needs recorded values that the repository may leave out "
        "(tests/golden/README.md); FLOOR33_GOLDEN names a folder with all of them",
    )


@pytest.hookimpl(tryfirst=True)  # before -m chooses by marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    slow_tests.mark(items)
    folder = Path(os.environ.get("FLOOR33_GOLDEN") or OURS)
    left_out = [item for item in items if not has_values(item, folder)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


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
    return unpack(OURS, tmp_path_factory.mktemp("golden"))
