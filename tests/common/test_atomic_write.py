"""A file or a folder is whole or not there, whatever ends its writer."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from common.atomic_write import atomic_folder, atomic_path, atomic_write


def fail_after(write: Callable[..., object], *arguments: object) -> None:
    write(*arguments)
    raise OSError("the disk is full")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("unique", [True, False])
def test_a_file_is_replaced_whole(tmp_path: Path, unique: bool) -> None:
    target = tmp_path / "note.txt"
    target.write_text("old")
    with atomic_path(target, unique=unique) as part:
        part.write_text("new")
        assert target.read_text() == "old"
        assert part.name.startswith(".")
    assert target.read_text() == "new"
    assert names(tmp_path) == ["note.txt"]


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "note.txt"
    target.write_text("old")
    with pytest.raises(OSError, match="full"), atomic_path(target) as part:
        fail_after(part.write_text, "ne")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["note.txt"]


def test_a_private_file_is_never_readable_by_others(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with atomic_path(tmp_path / "secret", mode=0o600) as part:
            assert stat.S_IMODE(part.stat().st_mode) == 0o600
            part.write_text("words")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_what_a_killed_writer_left_is_not_read_and_goes(tmp_path: Path) -> None:
    (tmp_path / ".note.txt.part").write_text("the longer text of a writer that was killed")
    atomic_write(tmp_path / "note.txt", "short", mode=0o600, unique=False)
    assert (tmp_path / "note.txt").read_text() == "short"
    assert names(tmp_path) == ["note.txt"]


def test_text_is_utf8_and_bytes_stay_bytes(tmp_path: Path) -> None:
    atomic_write(tmp_path / "text", "Grüße\n")
    atomic_write(tmp_path / "bytes", b"\x00\r\n")
    assert (tmp_path / "text").read_bytes() == "Grüße\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00\r\n"


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    target = tmp_path / "note.txt"
    with atomic_path(target) as first, atomic_path(target) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first"  # the outer block ends last


def write_folder(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "weights").write_text(text)


@pytest.mark.parametrize("sync", [True, False])
def test_a_folder_is_replaced_whole(tmp_path: Path, sync: bool) -> None:
    target = tmp_path / "model"
    write_folder(target, "old")
    (target / "notes").write_text("only in the old one")
    with atomic_folder(target, sync=sync) as partial:
        write_folder(partial, "new")
        assert (target / "weights").read_text() == "old"
    assert names(target) == ["weights"]
    assert (target / "weights").read_text() == "new"
    assert names(tmp_path) == ["model"]


def test_a_folder_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    write_folder(target, "old")
    with pytest.raises(OSError, match="full"), atomic_folder(target, unique=False) as partial:
        fail_after(write_folder, partial, "ne")
    assert (target / "weights").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_a_folder_that_was_not_made_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    write_folder(target, "old")
    with pytest.raises(FileNotFoundError), atomic_folder(target):
        pass
    assert (target / "weights").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_a_folder_that_a_killed_writer_had_moved_aside_comes_back(tmp_path: Path) -> None:
    target = tmp_path / "model"
    write_folder(tmp_path / ".model.old.partial", "old")
    write_folder(tmp_path / ".model.partial", "half")
    with pytest.raises(OSError, match="full"), atomic_folder(target, unique=False):
        fail_after((target / "weights").read_text)
    assert (target / "weights").read_text() == "old"
    assert names(tmp_path) == ["model"]
