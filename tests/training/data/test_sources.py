"""Sources list what is there, and say what is wrong with the rest."""

from __future__ import annotations

import csv
import json
import os
import random
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.data.sets import jpeg, picture_shard, write_shard
from training.data.config import DataSetConfig, SetKind
from training.data.errors import DataError, NoSamplesError, SampleError
from training.data.sources import DataSource, Sample, Slice, open_source

WEBVID = "videoid,contentUrl,duration,page_dir,name\n"


def opened(path: Path, kind: SetKind = "auto", media: Path | None = None) -> DataSource:
    return open_source(DataSetConfig(path=path, kind=kind, media=media))


def all_samples(source: DataSource) -> list[Sample]:
    return [source.sample(index) for index in range(sum(source.groups))]


def reasons(source: DataSource) -> list[str | None]:
    found: list[str | None] = []
    for index in range(sum(source.groups)):
        try:
            source.sample(index)
            found.append(None)
        except SampleError as error:
            found.append(error.reason)
    return found


@contextmanager
def without_rights() -> Iterator[None]:
    """Be a user who may not read the test's files, also where tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


# Tables


def test_a_webvid_table_finds_its_videos(tmp_path: Path, mp4: bytes) -> None:
    (tmp_path / "videos" / "000_050").mkdir(parents=True)
    (tmp_path / "videos" / "000_050" / "17.mp4").write_bytes(mp4)
    (tmp_path / "18.mp4").write_bytes(mp4)
    (tmp_path / "train.csv").write_text(
        f'{WEBVID}17,https://example.org/17.mp4,PT00H00M14S,000_050,"A dog, running."\n'
        "18,https://example.org/18.mp4,PT00H00M09S,000_050,A cat\n"
        "19,https://example.org/19.mp4,PT00H00M09S,000_050,Not downloaded\n"
    )
    source = opened(tmp_path)
    assert source.kind == "csv"
    first, second = source.sample(0), source.sample(1)
    assert (first.key, first.caption, first.kind) == ("17", "A dog, running.", "video")
    assert isinstance(first.media, Slice)
    assert first.media.path == tmp_path / "videos" / "000_050" / "17.mp4"
    assert isinstance(second.media, Slice)
    assert second.media.path == tmp_path / "18.mp4"
    assert reasons(source) == [None, None, "missing file"]


def test_a_simple_table_starts_from_the_media_folder(tmp_path: Path, mp4: bytes) -> None:
    media = tmp_path / "elsewhere"
    media.mkdir()
    (media / "a.mp4").write_bytes(mp4)
    (media / "b.jpg").write_bytes(jpeg())
    table = tmp_path / "list.csv"
    table.write_text("\ufeffpath,caption,width,height\na.mp4,one,128,64\nb.jpg,  ,0,5\nc.doc,x,,\n")
    source = opened(table, media=media)
    one, two = source.sample(0), source.sample(1)
    assert (one.caption, one.width, one.height) == ("one", 128, 64)
    assert (two.kind, two.caption, two.width) == ("picture", "", None)
    assert reasons(source) == [None, None, "unknown format"]


@settings(max_examples=25, deadline=None)
@given(
    captions=st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters='",\n')).filter(
            lambda text: text == text.strip() and text
        ),
        min_size=1,
        max_size=8,
    ),
    order=st.randoms(use_true_random=False),
)
def test_rows_are_found_whatever_captions_hold(
    tmp_path_factory: pytest.TempPathFactory, captions: list[str], order: random.Random
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    (folder / "a.mp4").write_bytes(b"x")
    with (folder / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "caption"), *(("a.mp4", c) for c in captions)])
    source = opened(folder)
    indices = list(range(len(captions)))
    order.shuffle(indices)
    for index in indices:
        assert source.sample(index).caption == captions[index]


def test_several_tables_follow_each_other(tmp_path: Path, mp4: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(mp4)
    (tmp_path / "0.csv").write_text("path,caption\na.mp4,one\n\na.mp4,two\n")
    (tmp_path / "1.csv").write_text("caption,path\nthree,a.mp4\n")
    assert [s.caption for s in all_samples(opened(tmp_path))] == ["one", "two", "three"]


def test_a_table_without_media_columns_names_the_known_ones(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("id,label\n1,2\n")
    with pytest.raises(DataError, match=r"known are videoid, path.* the file has id, label"):
        opened(table)


# Folders


def test_a_folder_takes_captions_from_where_they_are(tmp_path: Path, mp4: bytes) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a", "b", "sub/c", "sub/d", "e"):
        (tmp_path / f"{name}.mp4").write_bytes(mp4)
    (tmp_path / "a.txt").write_text("from text\n")
    (tmp_path / "b.json").write_text(json.dumps({"caption": "from json", "width": 4, "height": 2}))
    (tmp_path / "captions.jsonl").write_text(
        '{"file_name": "sub/c.mp4", "text": "from lines"}\nnot json\n'
    )
    (tmp_path / "metadata.csv").write_text("file_name,text\nsub/d.mp4,from table\n")
    (tmp_path / ".hidden.mp4").write_bytes(mp4)
    source = opened(tmp_path)
    assert source.kind == "folder"
    assert {s.key: s.caption for s in all_samples(source)} == {
        "a.mp4": "from text",
        "b.mp4": "from json",
        "e.mp4": None,
        "sub/c.mp4": "from lines",
        "sub/d.mp4": "from table",
    }
    assert source.sample(1).width == 4


def test_a_file_that_vanishes_is_a_broken_sample(folder_set: Path) -> None:
    source = opened(folder_set)
    (folder_set / "cut.mp4").unlink()
    assert reasons(source)[0] == "missing file"
    assert set(reasons(source)[1:]) == {None}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "holds no shard"),
        ({"notes.md": b"hello"}, "holds no shard"),
        ({"00000.tar.gz": b"x"}, "unpack them first"),
    ],
)
def test_folders_without_samples_are_refused(
    tmp_path: Path, content: dict[str, bytes], words: str
) -> None:
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(NoSamplesError, match=words):
        opened(tmp_path)


@pytest.mark.parametrize("kind", ["auto", "folder", "csv", "shards"])
def test_a_folder_that_may_not_be_read_is_refused(tmp_path: Path, kind: SetKind) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"x")
    folder.chmod(0o000)
    try:
        with without_rights(), pytest.raises(DataError, match=r"closed"):
            opened(folder, kind)
    finally:
        folder.chmod(0o700)


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist"):
        opened(tmp_path / "nowhere")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match=r"a\.parquet is no data set"):
        opened(tmp_path / "a.parquet")


# Shards


def test_shards_group_members_by_key(tmp_path: Path, mp4: bytes) -> None:
    picture_shard(tmp_path / "00000.tar", range(3))
    write_shard(
        tmp_path / "00001.tar",
        {
            "clips/7.mp4": mp4,
            "clips/7.json": b'{"text": "seven"}',
            "clips/8.json": b'{"text": "no media"}',
            "clips/9.mp4": mp4,
        },
    )
    source = opened(tmp_path)
    assert (source.kind, source.groups, source.notes) == ("shards", (3, 3), ())
    picture = source.sample(0)
    assert (picture.kind, picture.caption, picture.width) == ("picture", "picture 0", 96)
    assert isinstance(picture.media, Slice)
    assert picture.media.read() == jpeg(96, 48, level=0)
    clip = source.sample(3)
    assert (clip.key, clip.kind, clip.caption) == ("00001.tar/clips/7", "video", "seven")
    assert isinstance(clip.media, Slice)
    assert clip.media.read() == mp4
    with clip.media.open() as file:
        file.seek(-5, os.SEEK_END)
        assert file.read(100) == mp4[-5:]
    assert reasons(source)[4] == "no media"
    assert source.sample(5).caption is None


@pytest.mark.parametrize(
    ("member", "where", "count"),
    [
        ("000010.jpg", "header", 10),
        ("000010.jpg", "data", 10),
        ("000010.txt", "data", 10),
        ("000010.json", "header", 11),
        ("000010.json", "data", 11),
        ("000000.jpg", "data", 0),
    ],
)
def test_a_shard_that_was_cut_is_used_up_to_the_cut(
    tmp_path: Path, member: str, where: str, count: int
) -> None:
    whole = picture_shard(tmp_path / "00000.tar", range(20))
    picture_shard(tmp_path / "00001.tar", range(1))
    with tarfile.open(whole) as archive:
        info = archive.getmember(member)
    cut = info.offset + 100 if where == "header" else info.offset_data + info.size // 2
    whole.write_bytes(whole.read_bytes()[:cut])
    source = opened(tmp_path)
    assert source.groups == (count, 1)
    captions = [sample.caption for sample in all_samples(source)]
    assert captions == [*(f"picture {i}" for i in range(count)), "picture 0"]
    for index in range(count):
        media = source.sample(index).media
        assert isinstance(media, Slice)
        assert media.read() == jpeg(*((64, 64) if index % 2 else (96, 48)), level=index)
    assert source.notes == (f"00000.tar was cut: {count} samples before the cut are used",)


def test_a_shard_cut_between_members_is_noted_too(tmp_path: Path) -> None:
    whole = write_shard(tmp_path / "a.tar", {"1.jpg": b"x" * 512, "1.txt": b"one"})
    whole.write_bytes(whole.read_bytes()[:2048])
    source = opened(tmp_path)
    assert source.groups == (1,)
    assert "was cut" in source.notes[0]


def test_a_compressed_or_foreign_shard_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"\x1f\x8b" + bytes(range(256)) * 8)
    with pytest.raises(DataError, match=r"a\.tar is no tar file .* must not be compressed"):
        opened(tmp_path)


def test_the_list_of_members_is_kept_and_renewed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    shard = picture_shard(tmp_path / "a.tar", range(3))
    config = DataSetConfig(path=shard, index_cache=cache)
    first = open_source(config)
    (kept,) = cache.iterdir()
    kept.write_text(kept.read_text().replace("000001", "renamed"))
    assert open_source(config).sample(1).key == "a.tar/renamed"

    kept.write_text("damaged")
    assert open_source(config).sample(1) == first.sample(1)
    assert "made anew" in caplog.text

    picture_shard(shard, range(5))
    assert open_source(config).groups == (5,)
    assert len(list(cache.iterdir())) == 1


def test_the_procedural_set_is_a_function_of_its_number() -> None:
    config = DataSetConfig(kind="procedural", count=5)
    source = open_source(config)
    assert source.groups == (5,)
    assert all_samples(source) == all_samples(open_source(config))
    assert len({sample.caption for sample in all_samples(source)}) > 1
