"""The recorded checkpoints as fixtures."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.engine.checkpoints.original.recorded import Recorded, recorded


@pytest.fixture(scope="session")
def t2v(golden: Path) -> Recorded:
    return recorded(golden / "e2e_t2v")


@pytest.fixture(scope="session")
def i2v(golden: Path) -> Recorded:
    return recorded(golden / "e2e_i2v")


@pytest.fixture(params=["t2v", "i2v"])
def either(request: pytest.FixtureRequest) -> Recorded:
    run: Recorded = request.getfixturevalue(request.param)
    return run


@pytest.fixture
def save(tmp_path: Path) -> Callable[[object], Path]:
    """Writes a checkpoint file as torch does."""

    def write(content: object) -> Path:
        path = tmp_path / "model.ckpt"
        torch.save(content, path)
        return path

    return write
