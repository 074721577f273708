"""Contact sheets: the judged clips with what was asked and what was seen."""

from __future__ import annotations

import textwrap

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from training.evaluation.metrics.agreement import ASPECTS
from training.evaluation.records import ClipRecord
from training.evaluation.report import Report

EVERY = 3
"""A sheet shows each third frame."""

_GOOD, _BAD, _PLAIN, _PAPER = (20, 130, 50), (200, 30, 30), (30, 30, 30), (250, 250, 248)
_MARK, _GAP, _TEXT, _LINE = 8, 3, 330, 12
_TILE = 64  # least side of a picture; the text needs five lines


def contact_sheet(report: Report, *, limit: int = 48) -> Image.Image:
    """Draw the first ``limit`` clips of a report that have frames, one a row.

    A row begins with a mark, green where the clip obeys its prompt, then every third frame,
    then the prompt and each aspect in green or red (what was seen, where it differs).

    Raises:
        ValueError: If the report carries no frames, as after reading it from JSON.
    """
    records = [clip for clip in report.clips if clip.frames is not None][:limit]
    if not records:
        raise ValueError("a contact sheet needs the frames of the clips")
    clips = np.stack([clip.frames[::EVERY] for clip in records if clip.frames is not None])
    count, columns, _, height, width = clips.shape  # [N, K, 3, H, W]
    zoom = max(-(-_TILE // min(height, width)), 1)
    tile_height, tile_width = height * zoom, width * zoom
    text_x = _MARK + _GAP + columns * (tile_width + _GAP)
    size = (text_x + _TEXT, count * (tile_height + _GAP))
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default()
    for row, (record, clip) in enumerate(zip(records, clips, strict=True)):
        top = row * (tile_height + _GAP)
        colour = _GOOD if record.obeys else _BAD
        draw.rectangle((0, top, _MARK - 1, top + tile_height - 1), fill=colour)
        for column, frame in enumerate(clip):
            left = _MARK + _GAP + column * (tile_width + _GAP)
            picture = _picture(frame).resize((tile_width, tile_height), Image.Resampling.NEAREST)
            sheet.paste(picture, (left, top))
        _write(draw, font, record, text_x + _GAP, top)
    return sheet


def _picture(frame: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0)))


def _write(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    record: ClipRecord,
    x: int,
    top: int,
) -> None:
    lines = textwrap.wrap(_printable(record.prompt.text), 54, max_lines=2, placeholder=" ...")
    for index, line in enumerate(lines):
        draw.text((x, top + index * _LINE), line, font=font, fill=_PLAIN)
    cursor, y = x, top + 2 * _LINE
    for aspect in ASPECTS[:4]:
        agrees = record.agrees(aspect)
        seen = getattr(record.verdict, aspect) or "?"
        fill = _PLAIN if agrees is None else _GOOD if agrees else _BAD
        draw.text((cursor, y), seen, font=font, fill=fill)
        cursor += int(draw.textlength(seen, font=font)) + 10
    verdict = record.verdict
    jerk = "no path" if verdict.jerk is None else f"jerk {verdict.jerk:.2f} px"
    note = f"seed {record.seed}, {jerk}, {'steady' if verdict.steady else 'unsteady'}"
    draw.text((x, y + _LINE), note, font=font, fill=_PLAIN if verdict.steady else _BAD)


def _printable(text: str) -> str:
    # Pillow's built-in bitmap font (without FreeType) refuses what is not Latin-1.
    return text.encode("latin-1", "replace").decode("latin-1")
