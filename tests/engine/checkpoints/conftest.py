"""A model hub on this machine, a client of it, and a tiny published model that it has."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.checkpoints import PublishedModel
from engine.checkpoints.hub.client import Hub
from engine.checkpoints.original.presets import Preset, parse_config
from tests.engine.checkpoints.loopback_hub import LoopbackHub, serving
from tests.engine.checkpoints.original.recorded import Recorded, recorded

TINY_REPO = "floor33/tiny"


@pytest.fixture
def loopback() -> Iterator[LoopbackHub]:
    with serving() as hub:
        yield hub


@pytest.fixture
def hub(loopback: LoopbackHub, tmp_path: Path) -> Hub:
    return Hub(
        endpoint=loopback.address, cache_dir=tmp_path / "cache", offline=False, pause_s=0.001
    )


@pytest.fixture(scope="session")
def t2v(golden: Path) -> Recorded:
    return recorded(golden / "e2e_t2v")


@pytest.fixture(scope="session")
def checkpoint(t2v: Recorded) -> bytes:
    return t2v.checkpoint.read_bytes()


@pytest.fixture
def tiny(t2v: Recorded, checkpoint: bytes, loopback: LoopbackHub) -> PublishedModel:
    """A model that the hub of the test has."""
    loopback.put(TINY_REPO, "model.ckpt", checkpoint)
    return PublishedModel(
        preset=Preset(name="tiny", title="Tiny", config=parse_config(t2v.config), default_fps=12),
        hub_repo=TINY_REPO,
        download_bytes=len(checkpoint),
    )


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "data" / "models"
