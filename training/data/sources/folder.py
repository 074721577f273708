"""A plain folder of videos and pictures, with captions beside them or in one list."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from training.data.errors import DataError, SampleError
from training.data.sources.captions import caption_of, first_caption, parse_fields, path_of, size_of
from training.data.sources.sample import Boundary, Sample, file_media, media_kind
from training.data.sources.table import read_rows
from training.data.text import (
    MAX_CAPTION_BYTES,
    check_text,
    decode_leniently,
    printable,
    read_caption,
)

JSON_LISTS = ("captions.jsonl", "metadata.jsonl")
CSV_LISTS = ("captions.csv", "metadata.csv")


class FolderSource:
    """Media files below a folder, in the order of their names.

    The caption of ``a/b.mp4`` is looked for in ``a/b.txt``, in ``a/b.json``, and under ``a/b.mp4``
    in ``captions.jsonl``, ``metadata.jsonl``, ``captions.csv`` or ``metadata.csv`` of the folder.

    Args:
        folder: the set.
        allow_outside: follow links that lead outside the folder.

    Raises:
        DataError: the folder, or a list of captions in it, cannot be read.
    """

    def __init__(self, folder: Path, *, allow_outside: bool = False) -> None:
        self.kind = "folder"
        self._folder = folder
        self._boundary = Boundary(folder, allow_outside)
        notes: list[str] = []
        try:
            self._listed = _listed_captions(folder, self._boundary)
            self._names = _media_files(folder, notes)
        except OSError as error:
            raise DataError(
                f"{error.filename or folder} cannot be read: {error.strerror}"
            ) from error
        except SampleError as error:
            raise DataError(error.detail) from error
        self.groups: tuple[int, ...] = (len(self._names),)
        self.notes = tuple(notes)

    def sample(self, index: int) -> Sample:
        """The file with this number; see :class:`training.data.sources.sample.DataSource`."""
        name = self._names[index]
        path = self._folder / name
        kind = media_kind(path.suffix)
        assert kind is not None, "only media files are listed"
        try:
            media = file_media(self._boundary.check(path))
            caption, width, height = self._caption(path, name)
        except OSError as error:
            raise SampleError("missing file", f"{error.filename}: {error.strerror}") from error
        return Sample(printable(name), kind, caption, media, width, height)

    def _caption(self, path: Path, name: str) -> tuple[str | None, int | None, int | None]:
        words: str | None = None
        found: dict[str, Any] = {}
        if (text := path.with_suffix(".txt")).exists():
            words = read_caption(self._beside(text), str(text))
        if (fields := path.with_suffix(".json")).exists():
            found = parse_fields(self._beside(fields))
        listed = self._listed.get(name)
        if isinstance(listed, SampleError) and not words and not caption_of(found):
            raise SampleError(listed.reason, listed.detail)
        entry = None if isinstance(listed, SampleError) else listed
        caption = first_caption(words, caption_of(found), entry)
        return caption and check_text(caption, str(fields)), *size_of(found)

    def _beside(self, path: Path) -> bytes:
        """A small file that belongs to a media file."""
        with file_media(self._boundary.check(path)).open() as file:
            return file.read(MAX_CAPTION_BYTES + 1)


def has_media(folder: Path) -> bool:
    """Return whether any file below the folder is a video or a picture.

    Raises:
        OSError: the folder cannot be read.
    """
    return any(
        media_kind(Path(name).suffix)
        for _, _, names in os.walk(folder, onerror=_raise)
        for name in names
    )


def _raise(error: OSError) -> None:
    raise error


def _media_files(folder: Path, notes: list[str]) -> list[str]:
    """Paths relative to the folder, with forward slashes; unreadable parts below are noted."""

    def on_error(error: OSError) -> None:
        if error.filename == str(folder):
            raise error
        notes.append(f"{error.filename} cannot be read: {error.strerror}")

    found: list[str] = []
    for place, below, names in os.walk(folder, onerror=on_error):
        below[:] = [name for name in below if not name.startswith(".")]
        relative = Path(place).relative_to(folder)
        found += [
            (relative / name).as_posix()
            for name in names
            if media_kind(Path(name).suffix) and not name.startswith(".")
        ]
    return sorted(found)


def _listed_captions(folder: Path, boundary: Boundary) -> dict[str, str | SampleError]:
    """Captions by path; the error where one cannot be read."""
    captions: dict[str, str | SampleError] = {}
    for name in JSON_LISTS:
        if (path := folder / name).exists():
            text = decode_leniently(file_media(boundary.check(path)).read())
            captions |= _by_path(path, ((parse_fields(line), None) for line in text.split("\n")))
    for name in CSV_LISTS:
        if (path := folder / name).exists():
            captions |= _by_path(path, read_rows(file_media(boundary.check(path)).path))
    return captions


def _by_path(
    source: Path, rows: Iterable[tuple[dict[str, Any], SampleError | None]]
) -> dict[str, str | SampleError]:
    found: dict[str, str | SampleError] = {}
    for row, error in rows:
        path, text = path_of(row), caption_of(row)
        if not path or text is None:
            continue
        name = Path(path).as_posix()
        try:
            found[name] = error or check_text(text, f"the caption of {path} in {source.name}")
        except SampleError as unreadable:
            found[name] = unreadable
    return found
