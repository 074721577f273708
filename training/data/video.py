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
from av.video.stream import VideoStream

from engine.decoding.frames import ColourError, frame_to_rgb
from engine.decoding.video import open_video
from training.data.errors import SampleError
from training.data.timing import BROKEN, FrameTimes, count_frames, frames_from

MAX_PIXELS = 8192 * 4608


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """The facts of a video, from its header and its first frame, which was decoded.

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


def video_size(file: IO[bytes]) -> tuple[int, int]:
    """Width and height as shown, in pixels; decodes no more than the first frame.

    Raises:
        SampleError: it is broken, or holds no moving picture.
    """
    with _opened(file) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            raise SampleError(BROKEN, "not one frame can be decoded")
        return _shown_size(first, stream)


def probe_video(file: IO[bytes]) -> VideoFacts:
    """Read the facts of a video; the frames of the whole file are counted, but not decoded.

    Raises:
        SampleError: it is broken, or holds no moving picture.
    """
    with _opened(file) as (container, stream):
        rate, frames = FrameTimes.of(stream).rate, count_frames(container, stream)
    width, height = video_size(file)
    return VideoFacts(width, height, float(rate), frames)


def read_frames(file: IO[bytes], indices: Sequence[int]) -> Iterator[npt.NDArray[np.uint8]]:
    """Decode some frames of a video, one after the other.

    Frames are found by their time, ``index / fps`` from the start, so the speed is right where the
    file's own frames come irregularly.

    Args:
        file: the video; not closed.
        indices: ascending, from 0.

    Yields:
        ``[H, W, 3]`` uint8 sRGB as shown, for each index.

    Raises:
        SampleError: the video is broken, or ends before the last index.
    """
    done = 0
    for seek in (True, False) if indices[0] > 0 else (False,):
        with _opened(file) as (container, stream):
            times = FrameTimes.of(stream)
            wanted = [times.wanted(index) for index in indices]
            decoded = frames_from(container, stream, wanted[0] if seek else None)
            if decoded is None:
                continue
            for time, frame in decoded:
                if time < wanted[done]:
                    continue
                pixels = _pixels(frame, stream)
                while done < len(wanted) and time >= wanted[done]:
                    yield pixels
                    done += 1
                if done == len(wanted):
                    return
            break
    raise SampleError("ends early", f"frame {indices[done]} of {indices[-1] + 1} is not there")


@contextmanager
def _opened(file: IO[bytes]) -> Iterator[tuple[InputContainer, VideoStream]]:
    file.seek(0)
    try:
        with open_video(file) as container:
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
    except ColourError as error:
        raise SampleError("unknown colours", str(error)) from error
    except (av.FFmpegError, ValueError, ArithmeticError) as error:
        # The latter two for texts and times in headers that make no sense.
        raise SampleError(BROKEN, getattr(error, "strerror", None) or str(error)) from error


def _shown_size(frame: av.VideoFrame, stream: VideoStream) -> tuple[int, int]:
    width = max(1, round(frame.width * _pixel_aspect(stream)))
    return (frame.height, width) if frame.rotation % 180 else (width, frame.height)


def _pixel_aspect(stream: VideoStream) -> Fraction:
    aspect = stream.sample_aspect_ratio
    return Fraction(aspect) if aspect and Fraction(1, 4) <= aspect <= 4 else Fraction(1)


def _pixels(frame: av.VideoFrame, stream: VideoStream) -> npt.NDArray[np.uint8]:
    rgb = frame_to_rgb(
        frame,
        width=max(1, round(frame.width * _pixel_aspect(stream))),
        primaries=stream.codec_context.color_primaries,
        transfer=stream.codec_context.color_trc,
    )
    if frame.rotation % 360:
        rgb = np.rot90(rgb, k=round(frame.rotation / 90))  # degrees counterclockwise, as np turns
    return np.ascontiguousarray(rgb)
