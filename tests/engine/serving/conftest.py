"""Engines that run the tiny models on the CPU."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from engine.serving import Engine, EngineSettings, GenerationRequest

MakeEngine = Callable[..., Engine]
MakeRequest = Callable[..., GenerationRequest]


@pytest.fixture(scope="module")
def one_ray_at_a_time(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep tests that run at the same time from joining each other's cluster.

    Ray finds every cluster of this machine among its processes.
    """
    with FileLock(tmp_path_factory.getbasetemp().parent / "ray.lock"):
        yield


@pytest.fixture
def request_for() -> MakeRequest:
    """Requests for the tiny text-to-video model; keyword arguments change fields."""

    def make(job_id: str = "job", **changes: Any) -> GenerationRequest:
        given: dict[str, Any] = {"model": "tiny-t2v", "prompt": "a red ball", "seed": 7}
        return GenerationRequest(job_id=job_id, **(given | changes))

    return make


@pytest.fixture
async def make_engine(tiny_t2v: Path, tiny_i2v: Path, tmp_path: Path) -> AsyncIterator[MakeEngine]:
    """Engines that write to ``tmp_path/out`` and are closed after the test."""
    engines: list[Engine] = []

    def make(**changes: Any) -> Engine:
        settings: dict[str, Any] = {
            "output_dir": tmp_path / "out",
            "devices": ("cpu",),
            "model_dirs": {"tiny-t2v": tiny_t2v, "tiny-i2v": tiny_i2v},
            "min_free_mb": 1,
            "threads": 1,  # more only get in each other's way with networks this small
        }
        engines.append(Engine(EngineSettings(**(settings | changes))))
        return engines[-1]

    yield make
    for engine in engines:
        await engine.close()


@pytest.fixture
def engine(make_engine: MakeEngine) -> Engine:
    return make_engine()
