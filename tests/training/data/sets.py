"""Tiny real data sets: clips of the small world as MP4 files, tables, folders, shards."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.serving.media.mp4 import encode_mp4
from training.data.config import (
    DataConfig,
    DataSetConfig,
    ResolutionConfig,
    SetKind,
    WindowConfig,
)
from training.data.synthetic import render, sample_scene

Frames = npt.NDArray[np.uint8]


def world_frames(count: int, *, width: int = 64, height: int = 64, seed: int = 0) -> Frames:
    """``[F, H, W, 3]``: a clip of the small world, repeated to fill another aspect."""
    scene = sample_scene(np.random.default_rng(seed))
    frames = render(scene, np.arange(count) / 4).permute(0, 2, 3, 1).numpy()
    copies = (1, -(-height // 64), -(-width // 64), 1)
    return np.ascontiguousarray(np.tile(frames, copies)[:, :height, :width])


def counted_frames(count: int) -> Frames:
    """Frames whose grey level says which they are: 4 levels for each."""
    levels = (np.arange(count) * 4).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, 64, 64, 3)).copy()


def write_mp4(path: Path, frames: Frames, fps: int = 24) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    encode_mp4(frames, path, fps=fps, crf=10, min_short_side=16, comment="")
    return path


def jpeg(width: int = 64, height: int = 64, level: int = 200) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (level, 40, 90)).save(file, "JPEG", quality=95)
    return file.getvalue()


def write_shard(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def picture_shard(path: Path, keys: range) -> Path:
    """LAION-COCO's shape: jpg, txt and json."""
    members: dict[str, bytes] = {}
    for key in keys:
        width, height = (64, 64) if key % 2 else (96, 48)
        members[f"{key:06d}.jpg"] = jpeg(width, height, level=key)
        members[f"{key:06d}.txt"] = f"picture {key}".encode()
        members[f"{key:06d}.json"] = json.dumps({"width": width, "height": height}).encode()
    return write_shard(path, members)


def data_config(
    path: Path,
    *,
    kind: SetKind = "auto",
    pictures: Path | None = None,
    buckets: bool = False,
    width: int = 64,
    height: int = 64,
    workers: int = 0,
    picture_share: float = 0.0,
    window: WindowConfig | None = None,
) -> DataConfig:
    return DataConfig(
        clips=DataSetConfig(path=path, kind=kind),
        pictures=None if pictures is None else DataSetConfig(path=pictures),
        resolution=ResolutionConfig(width=width, height=height, buckets=buckets, multiple=16),
        window=window or WindowConfig(frames=4, max_stride=3),
        picture_share=picture_share,
        picture_batch=4,
        workers=workers,
    )
