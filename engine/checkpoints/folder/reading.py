"""Opening of single files that strangers made."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from engine.checkpoints.errors import ModelLoadError

Stamp = tuple[str, int, int, int, int]
"""Changes whenever a file does: path, size, inode, times of its contents and of its entry in ns."""

_BEGINNING: Final = 512
_LFS: Final = b"version https://git-lfs.github.com/spec/"
_MARKUP: Final = re.compile(rb"\s*<(?:!doctype|html|head|body|\?xml|error)", re.IGNORECASE)
_MAGIC: Final = (
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
    (b"Rar!\x1a\x07", "a rar archive: unpack it first"),
    (b"GGUF", "a GGUF file, which is not supported"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, which is not supported"),
    (b"\x00\x05\x16\x07", "a companion file of macOS without any weights"),
    (b"%PDF-", "a PDF document"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
)


def stamp_of(path: Path) -> Stamp:
    """Return what tells whether a file has changed.

    Raises:
        ModelLoadError: it is missing, no regular file, or cannot be looked at.
    """
    status = _status(path)
    return (str(path), status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)


def check_regular(path: Path) -> int:
    """Return the size of a regular file in bytes; one that would block or never end is refused.

    Raises:
        ModelLoadError: it is missing, no regular file, or cannot be looked at.
    """
    return _status(path).st_size


def read_limited(path: Path, limit: int) -> bytes:
    """Read a whole file of at most `limit` bytes.

    Raises:
        ModelLoadError: it is missing, too large, no regular file, or cannot be read.
    """
    if check_regular(path) > limit:
        raise ModelLoadError(f"{path} is larger than {limit // 1024} KiB, which no such file is.")
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise ModelLoadError(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(content) > limit:
        raise ModelLoadError(f"{path} is larger than {limit // 1024} KiB, which no such file is.")
    return content


def read_beginning(path: Path, count: int = _BEGINNING) -> bytes:
    """Read the first bytes of a file. Raises as `read_limited`."""
    check_regular(path)
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise ModelLoadError(f"{path} cannot be read: {error.strerror or error}.") from error


def foreign_kind(beginning: bytes) -> str | None:
    """Name what stands in place of weights or settings, from a file's first bytes.

    Returns:
        Words that follow "is", or None when nothing known stands there.
    """
    if beginning.startswith(_LFS):
        return "a pointer of Git LFS and not the file itself: fetch it with `git lfs pull`"
    if _MARKUP.match(beginning):
        return "a web page and not the file itself: download it again"
    if beginning.lstrip()[:9].lower() in (b'{"error":', b'{"messag'):
        return "a server's error message and not the file itself: download it again"
    return next((what for magic, what in _MAGIC if beginning.startswith(magic)), None)


def check_inside(path: Path, folder: Path) -> None:
    """Raise if a link leads out of a model folder.

    The links of huggingface_hub's cache lead to the `blobs` beside their snapshot and are
    followed; so is a link that the folder itself is.

    Raises:
        ModelLoadError: names the link.
    """
    top = os.path.realpath(folder)
    target = os.path.realpath(path)
    if _below(target, top):
        return
    snapshots = os.path.dirname(top)
    blobs = os.path.join(os.path.dirname(snapshots), "blobs")
    if os.path.basename(snapshots) == "snapshots" and _below(target, blobs):
        return
    raise ModelLoadError(f"{path} is a link that leads out of the model folder: copy the file.")


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _status(path: Path) -> os.stat_result:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise ModelLoadError(f"{path} is missing.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelLoadError(f"{path} cannot be read: {reason}.") from error
    if stat.S_ISDIR(status.st_mode):
        raise ModelLoadError(f"{path} cannot be read: it is a folder.")
    if not stat.S_ISREG(status.st_mode):
        raise ModelLoadError(f"{path} cannot be read: it is no regular file.")
    return status
