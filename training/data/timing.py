"""The times at which a video's frames are shown, and decoding from a frame on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from training.data.errors import SampleError

BROKEN = "broken video"
_ORDER_ONLY = "avi"
"""A container that states when packets are decoded, but not when their frames are shown."""


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """Times of a stream's frames, in its own unit of ``base`` seconds.

    ``begin`` is the time of the first frame; ``rate`` the native frames per second.
    """

    begin: int
    base: Fraction
    rate: Fraction

    @classmethod
    def of(cls, stream: VideoStream) -> FrameTimes:
        """Read them from the header.

        Raises:
            SampleError: the frame rate makes no sense.
        """
        rate = stream.average_rate or stream.guessed_rate
        if not rate or not 1 <= rate <= 1000:
            raise SampleError(BROKEN, f"its frame rate is {rate}")
        base = Fraction(stream.time_base) if stream.time_base else Fraction(1, 90_000)
        return cls(stream.start_time or 0, base, Fraction(rate))

    def wanted(self, index: int) -> int:
        """The first frame from this time on is the frame with this number.

        Half a frame early, so that rounding of times does not lose a frame; rounded up, so that a
        unit as coarse as a frame does not show the one before.
        """
        return self.begin + math.ceil((Fraction(2 * index - 1, 2) / self.rate) / self.base)

    def count(self, last: int) -> int:
        """Count the frames at the native rate, given the time at which the last one begins."""
        return max(0, int((last - self.begin) * self.base * self.rate + Fraction(1, 2))) + 1


def count_frames(container: InputContainer, stream: VideoStream) -> int:
    """Count the frames at the native rate, by the times of all packets.

    What a header says of duration and number is missing, or wrong by some frames, in files that
    were written in pieces.

    Raises:
        SampleError: there is not one frame, or none with a time.
    """
    times = FrameTimes.of(stream)
    by_order = container.format.name == _ORDER_ONLY
    first: int | None = None
    last: int | None = None
    for packet in container.demux(stream):
        if not packet.size or packet.is_discard:
            continue
        time = packet.dts if by_order or packet.pts is None else packet.pts
        if time is not None:
            first = time if first is None else min(first, time)
            last = time if last is None else max(last, time)
    if last is None or first is None:
        raise SampleError(BROKEN, "it has no frames")
    return times.count(last - first + times.begin if by_order else last)


def frames_from(
    container: InputContainer, stream: VideoStream, target: int | None
) -> Iterator[tuple[int, av.VideoFrame]] | None:
    """Decode frames with their times, the first of them earlier than ``target``.

    Where a seek leads is not believed: in files that were written in pieces it may be behind the
    target.

    Args:
        container: just opened.
        stream: of the container.
        target: a time in the stream's unit; None decodes from the start.

    Returns:
        The frames; None where no seek leads to one before the target, so that the file has to be
        read from its start.

    Raises:
        SampleError: a frame has no time.
    """
    if container.format.name == _ORDER_ONLY:
        return _in_order(container, stream)
    if target is None:
        return _with_times(container.decode(stream))
    times = FrameTimes.of(stream)
    back, start = 0, target
    while start > times.begin:
        container.seek(start, stream=stream)
        decoded = _with_times(container.decode(stream))
        first = next(decoded, None)
        if first is not None and first[0] < target:
            return _again(first, decoded)
        back = max(2 * back, int(1 / times.base))
        start = target - back
    return None


def _in_order(
    container: InputContainer, stream: VideoStream
) -> Iterator[tuple[int, av.VideoFrame]]:
    """All frames, with times by their order at the native rate."""
    times = FrameTimes.of(stream)
    step = 1 / (times.rate * times.base)
    for number, frame in enumerate(container.decode(stream)):
        yield times.begin + round(number * step), frame


def _with_times(frames: Iterator[av.VideoFrame]) -> Iterator[tuple[int, av.VideoFrame]]:
    for frame in frames:
        if frame.pts is None:
            raise SampleError(BROKEN, "a frame has no time")
        yield frame.pts, frame


def _again(
    first: tuple[int, av.VideoFrame], rest: Iterator[tuple[int, av.VideoFrame]]
) -> Iterator[tuple[int, av.VideoFrame]]:
    yield first
    yield from rest
