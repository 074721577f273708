"""TOML files that people write: what is wrong is one line with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.toml_file import TomlFileError, read_toml


def test_a_file_as_editors_on_windows_write_it(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes("\ufeff[a]\r\nb = 1\r\n".encode())
    assert read_toml(path) == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a = = 1", "not valid TOML: Invalid value (at line 1, column 5)"),
        (b'\na = "open', "not valid TOML: Unterminated string (at line 2, column 10)"),
        (b"\n# \xe9", "not UTF-8 text (line 2, column 3)"),
        (b"a = " + b"[" * 5000, "tables or lists are nested too deeply"),
        (b"a = " + b"[" * 40 + b"]" * 40, "tables or lists are nested too deeply"),
    ],
)
def test_what_is_wrong_is_placed(tmp_path: Path, data: bytes, text: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(data)
    with pytest.raises(TomlFileError) as refused:
        read_toml(path)
    assert str(refused.value) == text


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_toml(tmp_path / "missing.toml")
