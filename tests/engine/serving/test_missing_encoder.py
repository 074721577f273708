"""An ffmpeg that cannot do what is needed is found out before anybody waits for a clip."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import pytest

from bot.lifecycle.requirements import StartupError, check_requirements
from bot.settings import Settings
from engine.serving import Engine, FailureReason, GenerationRequest, JobFailed, Progress
from engine.serving.execution.output_files import check_free_space
from engine.serving.media.ffmpeg import EncodeError, EncoderMissingError, find_ffmpeg
from engine.serving.media.gif_webp import ClipFormat, convert_clip
from engine.serving.media.mp4 import encode_mp4
from engine.serving.media.size_limit import fit_to_limit
from tests.engine.serving.clips import busy_frames, write_clip

MakeEngine = Callable[..., Engine]
MakeRequest = Callable[..., GenerationRequest]


def program(folder: Path, script: str) -> Path:
    path = folder / "bin" / "ffmpeg"
    path.parent.mkdir()
    path.write_text(script)
    path.chmod(0o755)
    return path


def build_without(folder: Path, encoder: str) -> Path:
    """The ffmpeg of this machine, as a build that lacks one encoder."""
    return program(
        folder,
        f"#!{sys.executable}\n"
        "import subprocess, sys\n"
        f"asked = [{imageio_ffmpeg.get_ffmpeg_exe()!r}, *sys.argv[1:]]\n"
        "if '-encoders' not in asked:\n"
        "    sys.exit(subprocess.run(asked).returncode)\n"
        "lines = subprocess.run(asked, stdout=subprocess.PIPE, text=True).stdout.splitlines()\n"
        f"print('\\n'.join(line for line in lines if ' {encoder} ' not in line))\n",
    )


async def test_a_job_fails_before_it_is_sampled(
    make_engine: MakeEngine,
    request_for: MakeRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """LatentSync#60, #147, moviepy#696, imageio#353: builds of conda and Fedora."""
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(build_without(tmp_path, "libx264")))
    job = make_engine().submit(request_for())
    steps: list[Progress] = []
    job.subscribe(lambda event: steps.append(event) if isinstance(event, Progress) else None)
    with pytest.raises(JobFailed) as failed:
        await job.result()
    assert failed.value.reason is FailureReason.ENCODER_MISSING
    assert not steps


async def test_a_folder_that_cannot_be_written_to_is_noticed_before_sampling(
    make_engine: MakeEngine, request_for: MakeRequest, tmp_path: Path
) -> None:
    engine = make_engine()
    (tmp_path / "out").rmdir() if (tmp_path / "out").is_dir() else None
    (tmp_path / "out").write_text("a file where the folder should be")
    job = engine.submit(request_for())
    steps: list[Progress] = []
    job.subscribe(lambda event: steps.append(event) if isinstance(event, Progress) else None)
    with pytest.raises(JobFailed, match="folder for clips"):
        await job.result()
    assert not steps


def test_the_folder_is_tried_and_nothing_left_in_it(tmp_path: Path) -> None:
    check_free_space(tmp_path / "out", 1)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_the_start_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(build_without(tmp_path, "libx264")))
    with pytest.raises(EncoderMissingError, match="without libx264"):
        find_ffmpeg()
    settings = Settings.load(overrides={"data_dir": str(tmp_path / "data")})
    with pytest.raises(StartupError, match="without libx264"):
        check_requirements(settings)


@pytest.mark.parametrize(("to", "encoder"), [("gif", "gif"), ("webp", "libwebp_anim")])
def test_a_format_names_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: ClipFormat, encoder: str
) -> None:
    clip = write_clip(tmp_path / "job.mp4", busy_frames(3))
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(build_without(tmp_path, encoder)))
    with pytest.raises(EncoderMissingError, match=f"without {encoder}"):
        convert_clip(clip, to)
    assert find_ffmpeg()


def test_a_program_that_was_replaced_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = build_without(tmp_path, "libx264")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(build))
    with pytest.raises(EncoderMissingError):
        find_ffmpeg()
    build.write_text(f'#!/bin/sh\nexec {imageio_ffmpeg.get_ffmpeg_exe()} "$@"\n')
    assert find_ffmpeg() == str(build)


@pytest.mark.parametrize("lists", ["", "echo Encoders:; echo ' V....D libx264 x'; "])
def test_a_program_that_writes_nothing_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: str
) -> None:
    quiet = program(tmp_path, f"#!/bin/sh\n{lists}exit 0\n")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(quiet))
    path = tmp_path / "job.mp4"
    with pytest.raises(EncodeError, match="wrote nothing"):
        encode_mp4(busy_frames(3), path, fps=8, crf=20, min_short_side=2, comment="")


@pytest.mark.parametrize("name", ["12:30", "-new", "pipe:", "http:", "a b", "%d", "ü;#=", "plain"])
def test_a_relative_folder_may_have_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    clip = write_clip(Path(name) / "-job:1.mp4", busy_frames(6))
    assert convert_clip(clip, "gif").bytes > 0
    assert convert_clip(clip, "webp").bytes > 0
    # Two passes keep a log beside the clip as well.
    assert fit_to_limit(clip, clip.stat().st_size // 4).bytes > 0
    assert len(os.listdir(name)) == 4


def test_a_clip_that_is_a_list_of_others_is_not_read(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", busy_frames(3))
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{clip}'\n")
    for read in (lambda path: fit_to_limit(path, 10), lambda path: convert_clip(path, "gif")):
        with pytest.raises(EncodeError, match="no video"):
            read(tmp_path / "list.mp4")
