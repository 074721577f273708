"""``data check`` says what a data set is good for, and ends with the code that goes with it."""

from __future__ import annotations

import argparse
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.data.sets import picture_shard, write_mp4
from training.data.command import add_data_parser, run_data


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    add_data_parser(parser.add_subparsers(dest="command", required=True))
    return run_data(parser.parse_args(["data", *map(str, arguments)]))


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Run ``data check --json`` and return its code and report."""

    def checked(*arguments: object) -> tuple[int, dict[str, Any]]:
        code = run("check", *arguments, "--json")
        return code, json.loads(capsys.readouterr().out)

    return checked


Check = Callable[..., tuple[int, dict[str, Any]]]


def test_a_folder_with_everything_that_can_be_wrong(folder_set: Path, check: Check) -> None:
    (folder_set / "cut.txt").write_text("clip number 1")
    (folder_set / "good-2.txt").write_text("  \n")
    code, report = check(folder_set, "--size", "64x64")
    assert code == 0
    assert (report["kind"], report["samples"], report["checked"]) == ("folder", 10, 10)
    # Seven decode, of which one has no caption and one an empty one.
    assert (report["videos"], report["usable"]) == (7, 5)
    assert report["captions"] == {"missing": 1, "empty": 1, "duplicated": 1}
    assert report["broken"] == {"broken video": 3}
    assert {sample["key"] for sample in report["broken_samples"]} == {
        "cut.mp4",
        "empty.mp4",
        "noise.mp4",
    }
    assert report["fps"] == {"minimum": 24, "median": 24, "maximum": 24}
    assert report["duration"]["median"] == pytest.approx(40 / 24)
    assert report["width"]["maximum"] == 64
    assert report["buckets"] == {"64x64": 7}
    assert report["with_cuts"] == 0


def test_pictures_fill_buckets_by_aspect(tmp_path: Path, check: Check) -> None:
    picture_shard(tmp_path / "a.tar", range(10))
    code, report = check(tmp_path, "--size", "64x64", "--multiple", 16)
    assert code == 0
    assert (report["kind"], report["pictures"], report["fps"]) == ("shards", 10, None)
    assert report["buckets"] == {"96x48": 5, "64x64": 5}
    _, larger = check(tmp_path, "--size", "512x320")
    assert (larger["buckets"], larger["too_small"]) == ({}, 10)


def test_hard_cuts_are_estimated(tmp_path: Path, mp4: bytes, check: Check) -> None:
    frames = np.zeros((32, 64, 64, 3), np.uint8)
    frames[16:] = 200
    write_mp4(tmp_path / "cut.mp4", frames)
    (tmp_path / "cut.txt").write_text("cut")
    (tmp_path / "steady.mp4").write_bytes(mp4)
    _, report = check(tmp_path)
    assert (report["videos"], report["with_cuts"]) == (2, 1)


def test_a_limit_looks_all_over_the_set(tmp_path: Path, check: Check) -> None:
    picture_shard(tmp_path / "0.tar", range(10))
    whole = picture_shard(tmp_path / "1.tar", range(10))
    with tarfile.open(whole) as archive:
        cut = archive.getmember("000005.jpg").offset_data
    whole.write_bytes(whole.read_bytes()[:cut])
    _, report = check(tmp_path, "--limit", 4)
    assert (report["samples"], report["checked"]) == (15, 4)
    assert report["notes"] == ["1.tar was cut: 5 samples before the cut are used"]


def test_at_most_twenty_broken_samples_are_named(
    tmp_path: Path, check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(25):
        (tmp_path / f"{number:02}.jpg").write_bytes(b"broken")
    code, report = check(tmp_path)
    assert code == 1
    assert len(report["broken_samples"]) == 20
    assert run("check", tmp_path) == 1
    output = capsys.readouterr()
    assert "25 broken picture" in output.out
    assert "and 5 more" in output.out
    assert output.err == f"training: nothing in {tmp_path} can be used\n"


def test_the_report_for_people(folder_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", folder_set, "--size", "64x64") == 0
    text = capsys.readouterr().out
    assert "folder: 10 samples, 10 looked at" in text
    assert "24 to 24 fps" in text
    assert "empty.mp4: broken video" in text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere"], 2, "nowhere does not exist"),
        ([".", "--size", "64"], 2, "height"),
        ([".", "--size", "63x64"], 2, "width"),
        ([".", "--limit", "-1"], 2, "--limit"),
        (["."], 1, "holds no shard"),
        ([".", "--kind", "csv"], 1, "holds no .csv file"),
        (["notes.md"], 1, "is no data set"),
        (["notes.md", "--kind", "folder"], 1, "is a file"),
    ],
)
def test_wrong_usage_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.md").write_text("hello")
    assert run("check", *arguments) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("training: ")
    assert output.err.count("\n") == 1
    assert words in output.err
