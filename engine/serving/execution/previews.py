"""Previews: a small picture of a clip while it is sampled."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable
from typing import Any

from PIL import Image

logger = logging.getLogger(__name__)

LONG_SIDE = 192
COST_SHARE = 0.1
_WEBP_QUALITY = 70


class PreviewMaker:
    """Decodes one frame now and then, and never takes more than its share of the time.

    The first preview comes after the first step; further ones at even distances, each only when all
    previews together, the next one included, stay below ``share`` of the time since the job began.
    So sampling is slowed by a tenth at most after the first preview, which costs one decoded frame
    where the finished clip costs all of them.

    Args:
        decode: a model's preview of an unfinished clip; None if it cannot.
        total_steps: how many steps the job has.
        count: about how many previews there shall be; 0 for none.
        clock: seconds that never run backwards.
        share: of the time; the clips of a batch divide the usual one among them.
    """

    def __init__(
        self,
        decode: Callable[[Any], Image.Image | None],
        total_steps: int,
        count: int,
        clock: Callable[[], float] = time.monotonic,
        share: float = COST_SHARE,
    ) -> None:
        self._decode = decode
        self._every = max(1, total_steps // count) if count else 0
        self._total = total_steps
        self._clock = clock
        self._share = share
        self._began = clock()
        self._spent = 0.0
        self._dearest = 0.0

    def after_step(self, step: int, clip: Any) -> bytes | None:
        """Return the preview for a step that has been done, or None when none is due.

        A preview that fails is logged and ends the previews of this job, not the job.

        Args:
            step: 1 .. total_steps. The last has none, for the clip follows at once.
            clip: as far as it is known.
        """
        if not self._every or step >= self._total or (step - 1) % self._every:
            return None
        before = self._clock()
        elapsed = before - self._began
        if step > 1 and self._spent + self._dearest > self._share * elapsed:
            return None
        try:
            frame = self._decode(clip)
            picture = None if frame is None else _encode(frame)
        except (RuntimeError, ValueError, TypeError, OSError, MemoryError):
            logger.warning("no more previews for this job", exc_info=True)
            self._every = 0
            return None
        cost = self._clock() - before
        self._spent += cost
        self._dearest = max(self._dearest, cost)
        return picture


def _encode(picture: Image.Image) -> bytes:
    scale = LONG_SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.BICUBIC).save(buffer, "WEBP", quality=_WEBP_QUALITY)
    return buffer.getvalue()
