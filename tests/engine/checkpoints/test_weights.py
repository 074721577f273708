"""Fingerprints of weight files, and the notes that save reading large ones again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.checkpoints.folder.weights import WeightInspector


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.arange(64.0)}, path)
    return path


def change_unseen(file: Path) -> None:
    """Change the last byte, and put the time back."""
    stat = file.stat()
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def sha256(file: Path) -> bytes:
    return hashlib.sha256(file.read_bytes()).digest()


def test_a_large_file_is_read_once_by_all_programs(file: Path) -> None:
    first = WeightInspector(noted_from=1).digest(file)
    assert first == sha256(file)
    change_unseen(file)
    assert WeightInspector(noted_from=1).digest(file) == first
    assert WeightInspector().digest(file) == sha256(file) != first


def test_a_changed_file_is_read_again(file: Path) -> None:
    before = WeightInspector(noted_from=1).digest(file)
    save_file({"a": torch.arange(64.0) + 1}, file)
    os.utime(file, ns=(1, 1))
    assert WeightInspector(noted_from=1).digest(file) == sha256(file) != before


@pytest.mark.parametrize("text", ["", "abc", "zz 1 2", "00 1 2 3", "\xff"])
def test_a_damaged_note_is_no_fingerprint(file: Path, text: str) -> None:
    WeightInspector(noted_from=1).digest(file)
    (note,) = file.parent.glob(".*.sha256")
    note.write_text(text, encoding="utf-8")
    assert WeightInspector(noted_from=1).digest(file) == sha256(file)


def test_small_files_and_folders_of_others_get_no_note(file: Path) -> None:
    WeightInspector().digest(file)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    # A note that cannot be written (here its name is taken by a folder) costs nothing but time.
    (file.parent / f".{file.name}.sha256").mkdir()
    assert WeightInspector(noted_from=1).digest(file) == sha256(file)
