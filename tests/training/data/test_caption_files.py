"""Captions mean what their writer sees in the editor, or are said to be unreadable."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import numpy as np
import pytest

from tests.training.data.sets import jpeg, write_shard
from training.data.config import DataSetConfig, ResolutionConfig
from training.data.errors import SampleError
from training.data.inspection import inspect_source
from training.data.reader import MediaReader
from training.data.sources import open_source

BOAT = "a très red boat 🚤"
READ = {
    "UTF-8": BOAT.encode(),
    "with a mark": codecs.BOM_UTF8 + BOAT.encode(),
    "UTF-16 LE": codecs.BOM_UTF16_LE + BOAT.encode("utf-16-le"),
    "UTF-16 BE": codecs.BOM_UTF16_BE + BOAT.encode("utf-16-be"),
    "UTF-32": BOAT.encode("utf-32"),
    "Windows lines": f"\r\n{BOAT}\r\n".encode(),
}
REFUSED = {
    "Windows-1252": "a très red boat".encode("cp1252"),
    "UTF-16 without a mark": "a red boat".encode("utf-16-le"),
    "half of UTF-16": codecs.BOM_UTF16_LE + "a red boat".encode("utf-16-le")[:-1],
    "half a surrogate": codecs.BOM_UTF16_LE + b"a\0\x3d\xd8",
    "zeros": bytes(40),
}


def caption(path: Path) -> str:
    """Of the first sample, through the reader of a training."""
    source = open_source(DataSetConfig(path=path))
    reader = MediaReader(source, ResolutionConfig(width=64, height=64), None)
    return reader.load(0, reader.bucket(0), np.random.default_rng(0)).caption


def folder_of(tmp_path: Path, **files: bytes) -> Path:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    for name, data in files.items():
        (tmp_path / name.replace("_", ".")).write_bytes(data)
    return tmp_path


def as_kind(tmp_path: Path, kind: str, data: bytes) -> Path:
    if kind == "folder":
        return folder_of(tmp_path, a_txt=data)
    return write_shard(tmp_path / "0.tar", {"a.jpg": jpeg(), "a.txt": data})


@pytest.mark.parametrize("kind", ["folder", "shard"])
@pytest.mark.parametrize("data", READ.values(), ids=READ)
def test_text_files_are_read(tmp_path: Path, kind: str, data: bytes) -> None:
    """ai-toolkit#113, musubi-tuner#24, fluxgym#64."""
    assert caption(as_kind(tmp_path, kind, data)) == BOAT


@pytest.mark.parametrize("kind", ["folder", "shard"])
@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_or_left_out_with_a_word(tmp_path: Path, kind: str, data: bytes) -> None:
    path = as_kind(tmp_path, kind, data)
    with pytest.raises(SampleError, match=r"unreadable caption: .*a\.txt .*save it as UTF-8"):
        caption(path)
    report = inspect_source(
        open_source(DataSetConfig(path=path)), ResolutionConfig(width=64, height=64)
    )
    assert report.broken == {"unreadable caption": 1}


def test_a_file_of_another_kind_is_no_caption(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="larger than 1 MiB"):
        caption(folder_of(tmp_path, a_txt=b"x" * 2**21))


TABLES = ["captions.csv", "train.csv", "captions.jsonl", "a.json"]


def listed(name: str, text: str, encoding: str) -> bytes:
    fields = {"file_name": "a.jpg", "caption": text}
    if name.endswith(".csv"):
        return f"file_name,caption\r\na.jpg,{text}\r\n".encode(encoding)
    return json.dumps(fields, ensure_ascii=False).encode(encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", TABLES)
def test_lists_are_read(tmp_path: Path, name: str, encoding: str) -> None:
    folder_of(tmp_path)
    (tmp_path / name).write_bytes(listed(name, BOAT, encoding))
    assert caption(tmp_path) == BOAT


@pytest.mark.parametrize("name", TABLES)
def test_lists_of_another_code_are_not_guessed(tmp_path: Path, name: str) -> None:
    folder_of(tmp_path)
    (tmp_path / name).write_bytes(listed(name, "a très red boat", "cp1252"))
    with pytest.raises(SampleError, match="unreadable caption"):
        caption(tmp_path)


@pytest.mark.parametrize("name", ["captions.jsonl", "a.json"])
def test_half_a_letter_is_no_text(tmp_path: Path, name: str) -> None:
    """A tokenizer would refuse it in the middle of a run."""
    folder_of(tmp_path)
    (tmp_path / name).write_text('{"file_name": "a.jpg", "caption": "a \\ud83d boat"}')
    with pytest.raises(SampleError, match="unreadable caption"):
        caption(tmp_path)


def test_a_quoted_header_may_have_a_mark(tmp_path: Path) -> None:
    folder_of(tmp_path)
    text = '"file_name","caption"\n"a.jpg","a boat, red"\n'
    (tmp_path / "train.csv").write_text(text, encoding="utf-8-sig")
    assert caption(tmp_path) == "a boat, red"


@pytest.mark.parametrize("name", ["captions.csv", "metadata.csv", "train.csv"])
def test_unquoted_commas_leave_a_row_out_with_a_word(tmp_path: Path, name: str) -> None:
    """sd-scripts#870: captions that are cut without a word."""
    folder_of(tmp_path)
    (tmp_path / name).write_text("file_name,caption\na.jpg,a boat, red, on a lake\n")
    with pytest.raises(SampleError, match=r"unreadable row: .*a\.jpg has 4 columns.*quotation"):
        caption(tmp_path)


def test_commas_at_the_end_of_a_row_do_no_harm(tmp_path: Path) -> None:
    """As spreadsheets write them."""
    folder_of(tmp_path)
    (tmp_path / "train.csv").write_text("file_name,caption\na.jpg,a boat,,\n")
    assert caption(tmp_path) == "a boat"
