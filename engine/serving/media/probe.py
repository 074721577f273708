"""Read what a clip's file says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.error import FFmpegError

from engine.decoding.video import open_video
from engine.serving.media.ffmpeg import EncodeError


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """A video file.

    Attributes:
        width: pixels.
        height: pixels.
        fps: frames per second, on average.
        frames: how many there are.
        video_bytes: size of the pictures, without what the container adds.
        file_bytes: size of the file.
    """

    width: int
    height: int
    fps: Fraction
    frames: int
    video_bytes: int
    file_bytes: int

    @property
    def duration_s(self) -> float:
        """Length of the clip."""
        return float(self.frames / self.fps)


def probe_clip(path: Path) -> ClipFacts:
    """Read the facts of a clip without decoding it.

    Raises:
        EncodeError: it is no video that can be read.
        OSError: there is no such file, or it cannot be read.
    """
    try:
        with path.open("rb") as file, open_video(file) as container:
            if not container.streams.video:
                raise EncodeError(f"{path} holds no video")
            stream = container.streams.video[0]
            sizes = [packet.size for packet in container.demux(stream) if packet.size]
            rate = stream.average_rate
            width, height = stream.codec_context.width, stream.codec_context.height
    except (FFmpegError, ValueError, ArithmeticError) as error:
        raise EncodeError(f"{path} is no video that can be read: {error}") from error
    if not (sizes and rate and width and height):
        raise EncodeError(f"{path} holds no frames")
    return ClipFacts(width, height, Fraction(rate), len(sizes), sum(sizes), path.stat().st_size)
