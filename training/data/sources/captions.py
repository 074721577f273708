"""Captions, file names and sizes in the metadata of data sets, by the keys that these use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

CAPTION_KEYS = ("caption", "text", "prompt", "name", "top_caption", "title", "TEXT")
_MAX_SIDE = 1_000_000
PATH_KEYS = ("path", "file_name", "filename", "file", "video", "image")


def caption_of(fields: Mapping[str, Any]) -> str | None:
    """The caption among the fields of a JSON object or a table's row.

    The first that is not empty; "" where all are, None where there is no such field.
    """
    values = (fields.get(key) for key in CAPTION_KEYS)
    return first_caption(*(value.strip() for value in values if isinstance(value, str)))


def first_caption(*captions: str | None) -> str | None:
    """The first that is not empty, else "" if any is there at all, else None."""
    found = [caption for caption in captions if caption is not None]
    return next((caption for caption in found if caption), "" if found else None)


def path_of(fields: Mapping[str, Any]) -> str | None:
    """The media file that a row names; None without one."""
    for key in PATH_KEYS:
        value = fields.get(key)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return None


def size_of(fields: Mapping[str, Any]) -> tuple[int, int] | tuple[None, None]:
    """Width and height where both are stated as positive whole numbers."""
    width, height = (_whole(fields.get(key)) for key in ("width", "height"))
    return (width, height) if width and height else (None, None)


def parse_fields(data: bytes | str) -> dict[str, Any]:
    """The fields of a JSON object; none of anything else, damaged or not.

    Bytes that are no text become lone surrogates; see :func:`training.data.text.check_text`.
    """
    if isinstance(data, bytes):
        encoding = json.detect_encoding(data)
        wide = not encoding.startswith("utf-8")
        data = data.decode(encoding, errors="replace" if wide else "surrogateescape")
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _whole(value: object) -> int | None:
    try:
        number = int(str(value))
    except ValueError:
        return None
    return number if 0 < number <= _MAX_SIDE else None
