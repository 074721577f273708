"""A plain folder of videos and pictures, with captions beside them or in one list."""

from __future__ import annotations

import os
from pathlib import Path

from training.data.errors import DataError, SampleError
from training.data.sources.captions import caption_of, first_caption, parse_fields, path_of, size_of
from training.data.sources.sample import Sample, file_media, media_kind
from training.data.sources.table import read_rows

JSON_LISTS = ("captions.jsonl", "metadata.jsonl")
CSV_LISTS = ("captions.csv", "metadata.csv")


class FolderSource:
    """Media files below a folder, in the order of their names.

    The caption of ``a/b.mp4`` is looked for in ``a/b.txt``, in ``a/b.json``, and under ``a/b.mp4``
    in ``captions.jsonl``, ``metadata.jsonl``, ``captions.csv`` or ``metadata.csv`` of the folder.

    Raises:
        DataError: the folder, or a list of captions in it, cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.kind = "folder"
        self._folder = folder
        notes: list[str] = []
        try:
            self._listed = _listed_captions(folder)
            self._names = _media_files(folder, notes)
        except OSError as error:
            raise DataError(
                f"{error.filename or folder} cannot be read: {error.strerror}"
            ) from error
        self.groups: tuple[int, ...] = (len(self._names),)
        self.notes = tuple(notes)

    def sample(self, index: int) -> Sample:
        """The file with this number; see :class:`training.data.sources.sample.Source`."""
        name = self._names[index]
        path = self._folder / name
        kind = media_kind(path.suffix)
        assert kind is not None, "only media files are listed"
        try:
            media = file_media(path)
            caption, width, height = self._caption(path, name)
        except OSError as error:
            raise SampleError("missing file", f"{error.filename}: {error.strerror}") from error
        return Sample(name, kind, caption, media, width, height)

    def _caption(self, path: Path, name: str) -> tuple[str | None, int | None, int | None]:
        text, fields = path.with_suffix(".txt"), path.with_suffix(".json")
        words = None
        if text.exists():
            words = text.read_text(encoding="utf-8", errors="replace").strip()
        found = parse_fields(fields.read_bytes()) if fields.exists() else {}
        caption = first_caption(words, caption_of(found), self._listed.get(name))
        return caption, *size_of(found)


def has_media(folder: Path) -> bool:
    """Whether any file below the folder is a video or a picture.

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


def _listed_captions(folder: Path) -> dict[str, str]:
    captions: dict[str, str] = {}
    for name in JSON_LISTS:
        path = folder / name
        if path.exists():
            with path.open("rb") as lines:
                rows = [parse_fields(line) for line in lines]
            captions |= _by_path(rows)
    for name in CSV_LISTS:
        path = folder / name
        if path.exists():
            captions |= _by_path(list(read_rows(path)))
    return captions


def _by_path(rows: list[dict[str, str]]) -> dict[str, str]:
    found = ((path_of(row), caption_of(row)) for row in rows)
    return {Path(path).as_posix(): text for path, text in found if path and text is not None}
