"""A data set reaches nothing but its own files, and says nothing to the terminal."""

from __future__ import annotations

import io
import os
import socket
from pathlib import Path

import pytest

from tests.training.data.sets import jpeg, write_shard
from training.__main__ import main
from training.data.config import DataSetConfig
from training.data.errors import DataError, SampleError
from training.data.sources import DataSource, open_source
from training.data.video import probe_video

SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {} RTP/AVP 96\n"


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1]) & ~1


@pytest.mark.parametrize(
    "text",
    [
        SDP.format(free_port()) + "a=rtpmap:96 H264/90000\n",
        "ffconcat version 1.0\nfile 'b.mp4'\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nb.mp4\n#EXT-X-ENDLIST\n",
        "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011' type='static'></MPD>",
    ],
    ids=["SDP", "ffconcat", "HLS", "DASH"],
)
def test_a_text_is_no_video(
    tmp_path: Path, mp4: bytes, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (tmp_path / "b.mp4").write_bytes(mp4)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SampleError, match="broken video"):
        probe_video(io.BytesIO(text.encode()))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.jpg").write_bytes(jpeg())
    (outside / "x.txt").write_text("a secret")
    return outside


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    return folder


def opened(folder: Path, *, allow_outside: bool = False, media: Path | None = None) -> DataSource:
    return open_source(DataSetConfig(path=folder, media=media, allow_outside=allow_outside))


@pytest.mark.parametrize("way", ["absolute", "upwards", "a link", "a linked folder"])
def test_a_table_names_files_below_its_media_only(secret: Path, inside: Path, way: str) -> None:
    (inside / "link.jpg").symlink_to(secret / "x.jpg")
    (inside / "linked").symlink_to(secret)
    names = {
        "absolute": secret / "x.jpg",
        "upwards": "../outside/x.jpg",
        "a link": "link.jpg",
        "a linked folder": "linked/x.jpg",
    }
    (inside / "train.csv").write_text(f"path,caption\n{names[way]},a secret\n")
    with pytest.raises(SampleError, match=r"outside the data set: .*allow_outside = true"):
        opened(inside).sample(0)
    assert opened(inside, allow_outside=True).sample(0).caption == "a secret"


def test_a_wider_media_folder_is_the_boundary(secret: Path, inside: Path) -> None:
    (inside / "train.csv").write_text("path,caption\noutside/x.jpg,a secret\n")
    assert opened(inside, media=secret.parent).sample(0).caption == "a secret"


def test_webvids_columns_do_not_lead_out_either(secret: Path, inside: Path) -> None:
    (secret / "x.mp4").write_bytes(b"")
    (inside / "train.csv").write_text("videoid,page_dir,name\nx,../outside,a secret\n")
    with pytest.raises(SampleError, match="outside the data set"):
        opened(inside).sample(0)


def test_paths_inside_may_be_written_in_any_way(inside: Path) -> None:
    (inside / "below").mkdir()
    (inside / "a.jpg").write_bytes(jpeg())
    (inside / "link.jpg").symlink_to("below/../a.jpg")
    rows = ["below/../a.jpg", str(inside / "a.jpg"), "link.jpg"]
    table = "".join(f"{row},words\n" for row in rows)
    (inside / "train.csv").write_text("path,caption\n" + table)
    linked = inside.with_name("linked-set")
    linked.symlink_to(inside)
    for folder in (inside, linked):
        source = opened(folder)
        assert [source.sample(index).caption for index in range(3)] == ["words"] * 3


@pytest.mark.parametrize("linked", ["a.jpg", "a.txt", "a.json"])
def test_links_of_a_folder_stay_inside(secret: Path, inside: Path, linked: str) -> None:
    (secret / "x.json").write_text('{"caption": "a secret"}')
    (inside / "a.jpg").write_bytes(jpeg())
    (inside / linked).unlink(missing_ok=True)
    (inside / linked).symlink_to(secret / f"x{Path(linked).suffix}")
    with pytest.raises(SampleError, match="outside the data set"):
        opened(inside).sample(0)
    opened(inside, allow_outside=True).sample(0)


@pytest.mark.parametrize("name", ["captions.csv", "metadata.jsonl", "0.tar", "train.csv"])
def test_nor_do_lists_and_shards_lead_out(secret: Path, inside: Path, name: str) -> None:
    (inside / "a.jpg").write_bytes(jpeg())
    write_shard(secret / "x.tar", {"a.jpg": jpeg(), "a.txt": b"words"})
    (secret / "x.csv").write_text("file_name,caption\na.jpg,words\n")
    (secret / "x.jsonl").write_text('{"file_name": "a.jpg", "caption": "words"}\n')
    (inside / name).symlink_to(secret / f"x{Path(name).suffix}")
    with pytest.raises(DataError, match="leads outside"):
        opened(inside)
    assert opened(inside, allow_outside=True).sample(0).caption == "words"


@pytest.mark.parametrize("name", ["a.jpg", "a.txt"])
def test_a_pipe_is_not_waited_for(inside: Path, name: str) -> None:
    (inside / "a.jpg").write_bytes(jpeg())
    (inside / name).unlink(missing_ok=True)
    os.mkfifo(inside / name)
    with pytest.raises(SampleError, match="no regular file"):
        opened(inside).sample(0)


def test_odd_paths_of_a_table_are_said_to_be_so(inside: Path) -> None:
    (inside / "train.csv").write_bytes(b"path,caption\na\0.jpg,x\n" + b"b" * 300 + b".jpg,x\n")
    source = opened(inside)
    for index in range(2):
        with pytest.raises(SampleError, match="missing file"):
            source.sample(index)


def test_names_of_files_do_not_command_the_terminal(
    inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (inside / "a\x1b[2Jb.mp4").write_bytes(b"nothing")
    (inside / "c\x1b]0;title\x07.txt").write_text("x")
    (inside / os.fsdecode(b"d\xff.mp4")).write_bytes(b"nothing")
    for json_too in ((), ("--json",)):
        main(["data", "check", str(inside), *json_too])
        said = capsys.readouterr()
        assert "\x1b" not in said.out + said.err
        assert "b.mp4" in said.out
        said.out.encode()
