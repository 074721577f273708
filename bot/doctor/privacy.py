"""Check and repair the file permissions of personal data."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bot.doctor.report import DiagnosticResult, Status
from bot.files import PRIVATE_FILE, PRIVATE_FOLDER
from bot.settings import Settings

_OTHERS: Final = 0o077
_DATABASE_FILES: Final = ("floor33.db*", ".floor33.db*", "bot.id")
_FOLDERS: Final = ("outputs", "uploads")


def check_privacy(settings: Settings) -> DiagnosticResult:
    """Warn of files and folders of the bot that others can read or write."""
    if os.name != "posix":
        return DiagnosticResult(
            "privacy", Status.OK, "the permissions of the data folder are Windows' own"
        )
    found = [path for path in _kept(settings) if _open_to_others(path)]
    if not _open_to_others(settings.data_dir):
        # Nobody gets past the folder, whatever is in it.
        found = [path for path in found if not path.is_relative_to(settings.data_dir)]
    if not found:
        return DiagnosticResult(
            "privacy", Status.OK, "only this account can read what the bot keeps"
        )
    return DiagnosticResult(
        "privacy",
        Status.WARN,
        f"other accounts of this machine can get at {len(found)} files and folders of the bot, "
        f"e.g. {found[0]}",
        "`python -m bot doctor --fix` makes them this account's alone; models stay as they are.",
    )


def make_private(settings: Settings) -> None:
    """Make the bot's files private to this account; models are left as they are.

    What belongs to somebody else stays as it is, and the check tells.
    """
    for path in _kept(settings):
        if not path.is_symlink() and _open_to_others(path):
            try:
                path.chmod(PRIVATE_FOLDER if path.is_dir() else PRIVATE_FILE)
            except OSError:
                continue


def _kept(settings: Settings) -> Iterator[Path]:
    """Yield the data folder, the personal data in it, then the log with its older files."""
    folder = settings.data_dir
    if folder.is_dir():
        yield folder
        for pattern in _DATABASE_FILES:
            yield from folder.glob(pattern)
        for name in _FOLDERS:
            if (folder / name).is_dir():
                yield folder / name
                yield from (folder / name).rglob("*")
    if (log := settings.log.file) is not None:
        yield from (path for path in log.parent.glob(f"{log.name}*") if path.is_file())


def _open_to_others(path: Path) -> bool:
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & _OTHERS)
    except OSError:
        return False
