"""Tiny real data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.data.sets import counted_frames, world_frames, write_mp4


@pytest.fixture(scope="session")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Forty frames at 24 fps, each saying its number by its grey."""
    path = tmp_path_factory.mktemp("mp4") / "clip.mp4"
    return write_mp4(path, counted_frames(40)).read_bytes()


@pytest.fixture(scope="session")
def world_mp4(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int, int], bytes]:
    """Clips of the small world by width, height and seed, encoded once."""
    folder = tmp_path_factory.mktemp("world")

    def clip(width: int = 64, height: int = 64, seed: int = 0) -> bytes:
        path = folder / f"{width}x{height}-{seed}.mp4"
        if not path.exists():
            write_mp4(path, world_frames(24, width=width, height=height, seed=seed))
        return path.read_bytes()

    return clip


@pytest.fixture
def folder_set(tmp_path: Path, mp4: bytes) -> Path:
    """A plain folder: six good clips, and one of each thing that can be wrong."""
    folder = tmp_path / "set"
    folder.mkdir()
    for number in range(6):
        (folder / f"good-{number}.mp4").write_bytes(mp4)
        (folder / f"good-{number}.txt").write_text(f"clip number {number}")
    (folder / "cut.mp4").write_bytes(mp4[: len(mp4) * 2 // 3])
    (folder / "cut.txt").write_text("a clip that was cut")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "empty.txt").write_text("an empty file")
    (folder / "mute.mp4").write_bytes(mp4)
    (folder / "noise.mp4").write_bytes(bytes(range(256)) * 8)
    (folder / "noise.txt").write_text("not a video")
    return folder
