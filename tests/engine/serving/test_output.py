"""Where files go, that they are there as a whole or not at all, and room for them."""

from pathlib import Path

import pytest

from engine.serving.execution.failures import DiskFullError
from engine.serving.execution.output_files import (
    OutputPaths,
    check_free_space,
    free_space_problem,
    publish_files,
    staged,
)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def paths(folder: Path) -> OutputPaths:
    return OutputPaths(folder / "a.mp4", folder / "a.json")


def test_with_enough_space_there_is_no_problem(tmp_path: Path) -> None:
    assert free_space_problem(tmp_path, 1) is None
    assert free_space_problem(tmp_path / "not" / "made" / "yet", 1) is None
    check_free_space(tmp_path / "out", 1)
    assert (tmp_path / "out").is_dir()


def test_a_disk_that_is_nearly_full_is_told_before_any_work(tmp_path: Path) -> None:
    problem = free_space_problem(tmp_path, 10**9)
    assert problem is not None
    assert "1000000000 are needed" in problem
    assert str(tmp_path) not in problem, "paths are for the operator"
    with pytest.raises(DiskFullError, match=str(tmp_path)):
        check_free_space(tmp_path, 10**9)


def test_staged_files_get_their_names_together(tmp_path: Path) -> None:
    with staged(paths(tmp_path)) as hidden:
        hidden.clip.write_text("clip")
        hidden.sidecar.write_text("facts")
        assert all(name.startswith(".a.") for name in names(tmp_path))
        publish_files(hidden, paths(tmp_path))
    assert names(tmp_path) == {"a.mp4", "a.json"}
    assert (tmp_path / "a.mp4").read_text() == "clip"


def test_what_is_given_up_is_removed(tmp_path: Path) -> None:
    with staged(paths(tmp_path)) as hidden:
        hidden.clip.write_text("clip")
    assert names(tmp_path) == set()


def test_two_runs_of_one_name_do_not_meet(tmp_path: Path) -> None:
    with staged(paths(tmp_path)) as first, staged(paths(tmp_path)) as second:
        assert first != second


def test_neither_file_stays_without_the_other(tmp_path: Path) -> None:
    with staged(paths(tmp_path)) as hidden:
        hidden.sidecar.write_text("facts")
        with pytest.raises(FileNotFoundError):
            publish_files(hidden, paths(tmp_path))
    assert names(tmp_path) == set()
