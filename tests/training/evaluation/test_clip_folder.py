"""Clips made elsewhere, measured through the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.training.data.sets import write_mp4
from training.cli import main
from training.data.synthetic import SyntheticScene, render, sample_scene
from training.evaluation.prompts import describe, recognise
from training.evaluation.report_json import from_json, to_json

PROMPT = "a red circle moving to the left on a black background"


def scene(**changes: Any) -> SyntheticScene:
    whole = {"colour": "red", "shape": "circle", "background": "black", "motion": "left", "fps": 8}
    drawn = sample_scene(np.random.default_rng(3), frames=16)
    return replace(drawn, **whole | {"x": 32.0, "y": 32.0, "radius": 10.0} | changes)


def frames_of(drawn: SyntheticScene) -> np.ndarray:
    return render(drawn, range(16)).permute(0, 2, 3, 1).numpy()


def evaluate(folder: Path, output: Path) -> dict[str, Any]:
    assert main(["evaluate", "--clips", str(folder), "--output", str(output)]) == 0
    assert (output / "report.html").stat().st_size > 1000
    text = (output / "report.json").read_text()
    assert to_json(from_json(text)) == text
    document: dict[str, Any] = json.loads(text)
    return document


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    write_mp4(folder / "1.mp4", frames_of(scene()))
    write_mp4(folder / "2.mp4", frames_of(scene(colour="green")))
    return folder


def test_prompts_with_facts_are_held_against_the_clips(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clips / "prompts.txt").write_text(f"{PROMPT}\n{PROMPT}\n")
    report = evaluate(clips, tmp_path / "out")
    assert report["metrics"]["colour_as_asked"]["values"]["mean"] == 0.5  # the second is green
    assert report["metrics"]["motion_as_asked"]["values"]["mean"] == 1
    assert report["metrics"]["colour_as_asked"]["better"] == "higher"
    assert report["rates"]["colour"]["hits"] == 1
    assert report["metrics"]["colour_change"]["values"]["mean"] < 0.05
    assert report["unmeasured"]["first_frame_psnr"].startswith("needs the picture")
    assert [clip["prompt"]["text"] for clip in report["clips"]] == [PROMPT, PROMPT]
    assert "colour_as_asked" in capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text()
    assert "needs the picture that each clip began with" in page


def test_what_cannot_be_measured_is_named(clips: Path, tmp_path: Path) -> None:
    report = evaluate(clips, tmp_path / "out")  # no prompts, and names that are none
    assert report["unmeasured"]["colour_as_asked"] == "needs prompts with known facts"
    assert "colour_as_asked" not in report["metrics"]
    assert report["metrics"]["flicker"]["values"]["count"] == 2


def test_prompts_come_from_files_beside_the_clips_and_from_names(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("1", "2", f"{PROMPT}-0"):
        write_mp4(folder / f"{name}.mp4", frames_of(scene()))
    (folder / "1.txt").write_text("from a text file")
    (folder / "2.json").write_text(json.dumps({"prompt": "from a JSON file"}))
    texts = [clip["prompt"]["text"] for clip in evaluate(folder, tmp_path / "out")["clips"]]
    assert texts == ["from a text file", "from a JSON file", PROMPT]


def test_more_clips_than_are_in_memory_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(10):
        write_mp4(folder / f"{number}.mp4", frames_of(scene())[:4])
    (folder / "9.txt").write_text(PROMPT)  # in the second part alone
    report = evaluate(folder, tmp_path / "out")
    assert report["metrics"]["flicker"]["values"]["count"] == 10
    assert report["metrics"]["colour_as_asked"]["values"]["count"] == 1


def test_a_table_names_clips_and_prompts(clips: Path, tmp_path: Path) -> None:
    table = clips / "clips.csv"
    table.write_text(f'path,caption\n2.mp4,"{PROMPT}"\n')
    report = evaluate(table, tmp_path / "out")
    assert [clip["prompt"]["colour"] for clip in report["clips"]] == ["red"]


def test_a_picture_beside_a_clip_is_what_it_began_with(clips: Path, tmp_path: Path) -> None:
    Image.fromarray(frames_of(scene())[0]).save(clips / "1.png")
    Image.fromarray(frames_of(scene())[0]).save(clips / "alone.png")
    report = evaluate(clips, tmp_path / "out")
    assert report["clips"][0]["first_frame_psnr"] > 25
    assert report["clips"][1]["first_frame_psnr"] is None
    assert report["skipped"] == ["alone.png: a picture, not a clip"]


def test_a_broken_file_is_one_line_and_the_others_are_measured(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clips / "3.mp4").write_bytes(b"no video")
    report = evaluate(clips, tmp_path / "out")
    assert len(report["clips"]) == 2
    (line,) = report["skipped"]
    assert line.startswith("3.mp4: ")
    assert f"left out: {line}" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("prepare", "arguments", "code", "words"),
    [
        (None, [], 2, "name a model, or a folder by --clips"),
        (None, ["--clips", "nowhere"], 2, "--clips: nowhere does not exist"),
        (None, ["--clips", "clips", "--steps", "3"], 2, "--steps: of clips that are made"),
        ("a prompt\n", ["--clips", "clips"], 2, "has 1 lines for 2 clips"),
    ],
)
def test_wrong_usage_is_one_line(
    clips: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    prepare: str | None,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(clips.parent)
    if prepare is not None:
        (clips / "prompts.txt").write_text(prepare)
    assert main(["evaluate", *arguments]) == code
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_only_broken_files_end_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "1.mp4").write_bytes(b"no video")
    assert main(["evaluate", "--clips", str(tmp_path), "--output", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "1.mp4" in error
    assert error.count("\n") == 1


def test_facts_are_read_from_the_words_of_the_small_world() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        asked = describe(sample_scene(rng), rng)
        read = recognise(asked.text)
        assert (read.colour, read.shape) == (asked.colour, asked.shape), asked.text
        assert read.background == asked.background, asked.text
        assert read.motion == asked.motion, asked.text
    assert not recognise("a red car driving through Paris at night").has_facts
    assert recognise("a red circle and a blue circle").colour is None
