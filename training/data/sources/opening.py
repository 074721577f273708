"""Open a data set, finding out what kind it is."""

from __future__ import annotations

from pathlib import Path

from training.data.config import DataSetConfig, SetKind
from training.data.errors import DataError, NoSamplesError, SampleError
from training.data.sources.folder import CSV_LISTS, FolderSource, has_media
from training.data.sources.procedural import ProceduralSource
from training.data.sources.sample import Boundary, DataSource
from training.data.sources.shards import ShardSource
from training.data.sources.table import TableSource, is_table_of_media, read_header

ARCHIVES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.zst", ".zip")


def open_source(config: DataSetConfig) -> DataSource:
    """Open a data set.

    ``kind = "auto"`` takes a ``.csv`` file as a table and a ``.tar`` file as a shard; a folder
    with shards as shards, with a CSV of media files (other than a plain folder's list of captions)
    as a table, and with media as a plain folder.

    Raises:
        DataError: it does not exist, cannot be read, or is of no known kind.
        NoSamplesError: it is empty.
    """
    path = config.path
    if path is None:
        return ProceduralSource(config.count)
    try:
        source = _open(path, config)
    except OSError as error:
        raise DataError(f"{error.filename or path} cannot be read: {error.strerror}") from error
    if sum(source.groups) == 0:
        notes = f" ({'; '.join(source.notes[:3])})" if source.notes else ""
        raise NoSamplesError(f"{path} ({source.kind}) holds no samples{notes}")
    return source


def _open(path: Path, config: DataSetConfig) -> DataSource:
    if not path.exists():
        raise DataError(f"{path} does not exist")
    kind = _kind(path) if config.kind == "auto" else config.kind
    if kind == "folder":
        if not path.is_dir():
            raise DataError(f"{path} is a file, not a folder of videos and pictures")
        return FolderSource(path, allow_outside=config.allow_outside)
    suffix = ".csv" if kind == "csv" else ".tar"
    files = sorted(path.glob(f"*{suffix}")) if path.is_dir() else [path]
    if not files:
        raise NoSamplesError(f"{path} holds no {suffix} file")
    if path.is_dir():
        boundary = Boundary(path, config.allow_outside)
        for file in files:
            _check_listed(boundary, file)
    if kind == "csv":
        if path.is_dir():
            files = [file for file in files if is_table_of_media(read_header(file))] or files
        media = config.media or (path if path.is_dir() else path.parent)
        return TableSource(files, media, allow_outside=config.allow_outside)
    return ShardSource(files, config.index_cache)


def _check_listed(boundary: Boundary, file: Path) -> None:
    try:
        boundary.check(file)
    except SampleError as error:
        raise DataError(error.detail) from error


def _kind(path: Path) -> SetKind:
    if path.is_file():
        match path.suffix.lower():
            case ".csv":
                return "csv"
            case ".tar":
                return "shards"
        raise DataError(
            f"{path} is no data set: give a folder, a .csv file, or an uncompressed .tar shard"
        )
    names = [file.name for file in path.iterdir()]
    if any(name.endswith(".tar") for name in names):
        return "shards"
    tables = [path / name for name in names if name.endswith(".csv") and name not in CSV_LISTS]
    if any(is_table_of_media(read_header(table)) for table in tables):
        return "csv"
    if has_media(path):
        return "folder"
    packed = next((name for name in names if name.endswith(ARCHIVES)), None)
    if packed:
        raise NoSamplesError(f"{path} holds archives such as {packed}; unpack them first")
    raise NoSamplesError(
        f"{path} holds no shard (.tar), no CSV that names media, and no video or picture"
    )
