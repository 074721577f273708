"""Decoding of videos by PyAV: facts, and frames by number, tolerant of nothing broken.

PyAV and not the ffmpeg program: shards hold videos in the middle of a file, which it reads without
a temporary copy, and a window deep in a clip needs an exact seek and not a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import IO

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from training.data.errors import SampleError

MAX_PIXELS = 8192 * 4608
_HD_LINES = 720
_UNKNOWN_COLOURS = 2
BROKEN = "broken video"


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a video's header says, and its first frame: it can be decoded.

    ``width`` and ``height`` are as shown (rotated, with square pixels); ``fps`` is the native rate;
    ``frames`` is how many there are at that rate.
    """

    width: int
    height: int
    fps: float
    frames: int

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.frames / self.fps


def probe_video(file: IO[bytes]) -> VideoFacts:
    """Read the facts of a video.

    Raises:
        SampleError: it is broken, or holds no moving picture.
    """
    with _opened(file) as (container, stream):
        rate, frames = _rate(stream), _count(container, stream)
        first = next(container.decode(stream), None)
        if first is None:
            raise SampleError(BROKEN, "not one frame can be decoded")
        width, height = _shown_size(first, stream)
    return VideoFacts(width, height, float(rate), frames)


def read_frames(file: IO[bytes], indices: Sequence[int]) -> Iterator[npt.NDArray[np.uint8]]:
    """Decode some frames of a video, one after the other.

    Frames are found by their time, ``index / fps`` from the start, so the speed is right where the
    file's own frames come irregularly.

    Args:
        file: the video; not closed.
        indices: ascending, from 0.

    Yields:
        ``[H, W, 3]`` uint8 RGB as shown, for each index.

    Raises:
        SampleError: the video is broken, or ends before the last index.
    """
    with _opened(file) as (container, stream):
        rate = _rate(stream)
        base = stream.time_base or Fraction(1, 90_000)
        begin = stream.start_time or 0
        # Half a frame early, so that rounding of times does not lose a frame.
        wanted = [begin + int((Fraction(2 * index - 1, 2) / rate) / base) for index in indices]
        if indices[0] > 0:
            container.seek(max(begin, wanted[0]), stream=stream)
        done = 0
        for frame in container.decode(stream):
            if frame.pts is None:
                raise SampleError(BROKEN, "a frame has no time")
            if frame.pts < wanted[done]:
                continue
            pixels = _pixels(frame, stream)
            while done < len(wanted) and frame.pts >= wanted[done]:
                yield pixels
                done += 1
            if done == len(wanted):
                return
    raise SampleError("ends early", f"frame {indices[done]} of {indices[-1] + 1} is not there")


@contextmanager
def _opened(file: IO[bytes]) -> Iterator[tuple[InputContainer, VideoStream]]:
    try:
        with av.open(file, mode="r", metadata_errors="replace") as container:
            if not container.streams.video:
                raise SampleError("no moving picture", "the file has no video stream")
            stream = container.streams.video[0]
            if getattr(stream, "codec_context", None) is None:
                raise SampleError(BROKEN, "there is no decoder for it")
            if stream.width * stream.height > MAX_PIXELS:
                size = f"{stream.width} x {stream.height}"
                raise SampleError("too many pixels", f"{size}, at most {MAX_PIXELS}")
            # Clips are decoded side by side already; more threads would only wait for each other.
            stream.thread_count = 1
            yield container, stream
    except (av.FFmpegError, ValueError, ArithmeticError) as error:
        # The latter two for texts and times in headers that make no sense.
        raise SampleError(BROKEN, getattr(error, "strerror", None) or str(error)) from error


def _rate(stream: VideoStream) -> Fraction:
    rate = stream.average_rate or stream.guessed_rate
    if not rate or not 1 <= rate <= 1000:
        raise SampleError(BROKEN, f"its frame rate is {rate}")
    return Fraction(rate)


def _count(container: InputContainer, stream: VideoStream) -> int:
    """Frames at the native rate, from the duration, since containers often state no count."""
    if stream.duration and stream.time_base:
        seconds = Fraction(stream.duration) * stream.time_base
    elif container.duration:
        seconds = Fraction(container.duration, av.time_base)
    else:
        raise SampleError(BROKEN, "its duration is unknown")
    count = round(seconds * _rate(stream))
    if count < 1:
        raise SampleError(BROKEN, "it has no frames")
    return count


def _shown_size(frame: av.VideoFrame, stream: VideoStream) -> tuple[int, int]:
    width = max(1, round(frame.width * _pixel_aspect(stream)))
    return (frame.height, width) if frame.rotation % 180 else (width, frame.height)


def _pixel_aspect(stream: VideoStream) -> Fraction:
    aspect = stream.sample_aspect_ratio
    return Fraction(aspect) if aspect and Fraction(1, 4) <= aspect <= 4 else Fraction(1)


def _pixels(frame: av.VideoFrame, stream: VideoStream) -> npt.NDArray[np.uint8]:
    # Files that do not say are read as everyone reads them: HD as BT.709, the rest as BT.601.
    unknown = frame.colorspace == _UNKNOWN_COLOURS
    colours = Colorspace.ITU709 if frame.height >= _HD_LINES else Colorspace.ITU601
    width = max(1, round(frame.width * _pixel_aspect(stream)))
    rgb = frame.reformat(
        width=width, format="rgb24", src_colorspace=colours if unknown else None
    ).to_ndarray()
    if frame.rotation % 360:
        rgb = np.rot90(rgb, k=round(frame.rotation / 90))  # degrees counterclockwise, as np turns
    return np.ascontiguousarray(rgb, dtype=np.uint8)
