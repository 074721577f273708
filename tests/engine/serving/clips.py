"""Clips to encode, and decoders to look at what became of them."""

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.decoding.frames import frame_to_rgb
from engine.serving.media.mp4 import encode_mp4

Frames = npt.NDArray[np.uint8]


class Video(NamedTuple):
    """What a decoder sees of a file."""

    frames: Frames
    fps: Fraction | None
    duration_s: float
    codec: str
    pix_fmt: str | None
    comment: str


def busy_frames(count: int = 12, height: int = 96, width: int = 128, noise: int = 40) -> Frames:
    """Waves that move under noise: nothing that compresses well."""
    y, x, t = np.mgrid[0:height, 0:width, 0:count]
    waves = 128 + 80 * np.sin(x / 9 + t / 2) * np.cos(y / 7 - t / 3)
    colours = np.stack([waves, 255 - waves, (waves + x + y) / 2.5], axis=-1)
    grain = np.random.default_rng(5).integers(-noise, noise + 1, colours.shape)
    pixels = (colours + grain).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1, 3))


def write_clip(path: Path, frames: Frames | None = None, **changes: object) -> Path:
    options: dict[str, object] = {"fps": 12, "crf": 16, "min_short_side": 2, "comment": '{"a": 1}'}
    encode_mp4(busy_frames() if frames is None else frames, path, **(options | changes))  # type: ignore[arg-type]
    return path


def watch_video(path: Path) -> Video:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        frames = np.stack(
            [
                frame_to_rgb(
                    frame,
                    width=frame.width,
                    primaries=context.color_primaries,
                    transfer=context.color_trc,
                )
                for frame in container.decode(stream)
            ]
        )
        assert container.duration is not None
        return Video(
            frames,
            stream.average_rate,
            container.duration / av.time_base,
            stream.codec_context.name,
            stream.codec_context.pix_fmt,
            container.metadata.get("comment", ""),
        )


def watch_animation(path: Path) -> tuple[Frames, list[int], int]:
    """Frames of a GIF or WebP, what each lasts (ms), and how often it repeats (0: for ever)."""
    frames, lasts = [], []
    with Image.open(path) as animation:
        for index in range(getattr(animation, "n_frames", 1)):
            animation.seek(index)
            animation.load()
            lasts.append(int(animation.info["duration"]))
            frames.append(np.asarray(animation.convert("RGB")))
        return np.stack(frames), lasts, int(animation.info.get("loop", -1))


def psnr_db(a: Frames, b: Frames) -> float:
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))
