"""CSV files that name media files and captions: WebVid's columns, or a path and a caption."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from training.data.errors import DataError, SampleError
from training.data.sources.captions import PATH_KEYS, caption_of, path_of, size_of
from training.data.sources.sample import Boundary, Sample, file_media, media_kind
from training.data.text import check_text, decode_leniently, encoding_of, printable

VIDEO_ID = "videoid"
VIDEO_FOLDERS = (".", "videos")


class TableSource:
    """Rows of CSV files, found by their offset, so that ten million of them need 80 MB.

    A WebVid row (``videoid, contentUrl, duration, page_dir, name``) is looked for at
    ``page_dir/videoid.mp4`` and ``videoid.mp4`` in the media folder and in ``videos`` there.

    Args:
        tables: the CSV files, in order, with a header row; UTF-8, or UTF-16 with its mark.
        media: the folder that paths start from.
        allow_outside: read also files that do not lie in that folder.

    Raises:
        DataError: a file cannot be read or has no column that names media.
    """

    def __init__(self, tables: Sequence[Path], media: Path, *, allow_outside: bool = False) -> None:
        self.kind = "csv"
        self._tables = tuple(tables)
        self._media = media
        self._boundary = Boundary(media, allow_outside)
        self._wide = {table: text for table in tables if (text := _from_wide(table)) is not None}
        notes: list[str] = []
        parts: list[tuple[list[str], npt.NDArray[np.int64]]] = []
        for table in self._tables:
            try:
                header, offsets = _list_rows(table, self._opened(table), notes)
            except OSError as error:
                raise DataError(f"{table} cannot be read: {error.strerror}") from error
            if not is_table_of_media(header):
                raise DataError(
                    f"{table} has no column that names media files; known are {VIDEO_ID}, "
                    f"{', '.join(PATH_KEYS)}, and the file has {', '.join(header) or 'none'}"
                )
            parts.append((header, offsets))
        self._headers = [header for header, _ in parts]
        self._offsets = np.concatenate([np.empty(0, np.int64), *(rows for _, rows in parts)])
        self._ends = np.cumsum([len(rows) for _, rows in parts])
        self.groups: tuple[int, ...] = (len(self._offsets),)
        self.notes = tuple(notes)

    def sample(self, index: int) -> Sample:
        """The row with this number; see :class:`training.data.sources.sample.DataSource`."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        table = self._tables[number]
        fields = self._fields(table, self._headers[number], int(self._offsets[index]))
        path = self._locate(fields, f"{table.name}, row {index + 1}")
        kind = media_kind(path.suffix)
        if kind is None:
            raise SampleError("unknown format", f"{path} is neither a known video nor a picture")
        try:
            media = file_media(self._boundary.check(path))
        except OSError as error:
            raise SampleError("missing file", f"{path}: {error.strerror}") from error
        width, height = size_of(fields)
        key = fields.get(VIDEO_ID) or path_of(fields) or path.name
        caption = caption_of(fields)
        caption = caption and check_text(caption, f"the caption of {key} in {table.name}")
        return Sample(printable(key), kind, caption, media, width, height)

    def _opened(self, table: Path) -> BinaryIO:
        wide = self._wide.get(table)
        return table.open("rb") if wide is None else io.BytesIO(wide)

    def _fields(self, table: Path, header: list[str], offset: int) -> dict[str, str]:
        try:
            with self._opened(table) as file:
                file.seek(offset)
                row = next(csv.reader(_lines(file)))
        except (OSError, StopIteration, csv.Error) as error:
            raise SampleError("unreadable row", f"{table} at byte {offset}: {error}") from error
        if problem := _too_long(table, header, row):
            raise problem
        return dict(zip(header, row, strict=False))

    def _locate(self, fields: dict[str, str], where: str) -> Path:
        path = path_of(fields)
        if path is not None:
            return self._media / path
        video = fields.get(VIDEO_ID, "").strip()
        if not video:
            raise SampleError("unreadable row", f"{where} names no file")
        directory = fields.get("page_dir", "").strip()
        places = [
            self._media / folder / between / f"{video}.mp4"
            for folder in VIDEO_FOLDERS
            for between in dict.fromkeys((directory, ""))
        ]
        return next((place for place in places if place.exists()), places[0])


def read_header(table: Path) -> list[str]:
    """Column names of a CSV file; none of an empty one.

    Raises:
        OSError: it cannot be read.
    """
    with _opened_table(table) as file:
        return _header(csv.reader(_lines(file)))


def is_table_of_media(header: Sequence[str]) -> bool:
    """Return whether these columns name media files."""
    return VIDEO_ID in header or any(key in header for key in PATH_KEYS)


def read_rows(table: Path) -> Iterator[tuple[dict[str, str], SampleError | None]]:
    """All rows of a small table as fields, with what is wrong with each.

    Rows that make no sense at all are passed over.

    Raises:
        OSError: it cannot be read.
    """
    with _opened_table(table) as file:
        reader = csv.reader(_lines(file))
        header = _header(reader)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error:
                continue
            yield dict(zip(header, row, strict=False)), _too_long(table, header, row)


def _too_long(table: Path, header: Sequence[str], row: Sequence[str]) -> SampleError | None:
    if not any(value.strip() for value in row[len(header) :]):
        return None
    return SampleError(
        "unreadable row",
        f"{table.name}: the row of {row[0]} has {len(row)} columns, the header {len(header)}; "
        "a caption with commas needs quotation marks around it",
    )


def _opened_table(table: Path) -> BinaryIO:
    wide = _from_wide(table)
    return table.open("rb") if wide is None else io.BytesIO(wide)


def _from_wide(table: Path) -> bytes | None:
    """A table of UTF-16 or UTF-32 as UTF-8, in which rows are found by their offset; else None."""
    try:
        with table.open("rb") as file:
            start = file.read(4)
            if encoding_of(start).startswith("utf-8"):
                return None
            text = decode_leniently(start + file.read())
    except OSError:
        return None  # is said when the table is listed
    return text.encode("utf-8", errors="surrogatepass")


def _header(reader: Iterator[list[str]]) -> list[str]:
    try:
        return [name.strip() for name in next(reader, [])]
    except csv.Error:
        return []


def _lines(file: BinaryIO) -> Iterator[str]:
    for line in file:
        yield _text(line.removeprefix(codecs.BOM_UTF8))


def _text(line: bytes) -> str:
    """Decode UTF-8, other bytes as surrogates: names of files stay valid, captions are refused."""
    return line.decode("utf-8", errors="surrogateescape")


def _list_rows(
    table: Path, opened: BinaryIO, notes: list[str]
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The header and the offset of every row; a row may span several lines."""
    with opened as file:
        position = 0

        def counted() -> Iterator[str]:
            nonlocal position
            for line in file:
                first, position = position == 0, position + len(line)
                yield _text(line.removeprefix(codecs.BOM_UTF8) if first else line)

        reader = csv.reader(counted())
        header = _header(reader)
        offsets: list[int] = []
        while True:
            start = position  # the reader takes no more lines than the row it returns needs
            try:
                row = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                notes.append(f"{table.name}, line {reader.line_num}: {error}")
                continue
            if row:
                offsets.append(start)
    return header, np.array(offsets, dtype=np.int64)
