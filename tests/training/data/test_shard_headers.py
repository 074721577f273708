"""What the headers of a shard from elsewhere state is not believed."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from training.data.config import DataSetConfig
from training.data.errors import NoSamplesError
from training.data.sources import open_source
from training.data.sources.shard_index import load_index

END = bytes(1024)


def header(name: str, size: int) -> bytes:
    """A tar header that states any size, also a negative one."""
    made = bytearray(tarfile.TarInfo(name).tobuf()[:512])
    made[124:136] = (b"\x80" if size >= 0 else b"\xff") + size.to_bytes(11, "big", signed=True)
    made[148:156] = b"        "
    made[148:156] = b"%06o\0 " % sum(made)
    return bytes(made)


def good(name: str = "a.mp4") -> bytes:
    return header(name, 512) + bytes(512)


def extension(kind: bytes, body: bytes) -> bytes:
    info = tarfile.TarInfo("extension")
    info.type, info.size = kind, len(body)
    return info.tobuf(tarfile.GNU_FORMAT) + body + bytes(-len(body) % 512)


def record(key: str, value: str) -> bytes:
    text = f" {key}={value}\n"
    length = len(text)
    while len(f"{length}{text}") != length:
        length = len(f"{length}{text}")
    return f"{length}{text}".encode()


BEHIND = {
    "back to its own header": header("n.mp4", -512),
    "back to the last": header("n.mp4", -1024),
    "back by a byte": header("n.mp4", -1) + bytes(512),
    "far back": header("n.mp4", -(2**80)),
    "far ahead": header("n.mp4", 2**80),
    "behind the end": header("n.mp4", 10**9),
    "a folder that leads back": header("n/", -512),
    "back by a record": extension(b"x", record("size", "-1024")) + good("b.mp4"),
    "ahead by a record": extension(b"x", record("size", "99999999")) + good("b.mp4"),
    "a record that is far too long": extension(b"x", b"1" * 400_000) + good("b.mp4"),
    "a size behind the next header": extension(b"x", record("GNU.sparse.realsize", "1500"))
    + good("b.mp4")
    + good("c.mp4"),
    "names of names": extension(b"L", b"x.mp4\0") * 3000 + good("b.mp4"),
    "a size that is no number": header("n.mp4", 5)[:124] + b"-0000001000\0" + bytes(376),
}


@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
def test_a_shard_is_listed_up_to_what_makes_no_sense(tmp_path: Path, behind: bytes) -> None:
    shard = tmp_path / "x.tar"
    whole = good("w.mp4") + header("w.txt", 1) + b"w".ljust(512, b"\0")
    shard.write_bytes(whole + behind + END)
    index = load_index(shard, None)
    assert [sample.members for sample in index.samples] == [{"mp4": (512, 512), "txt": (1536, 1)}]
    assert "1 samples before the" in index.note
    assert "is damaged" in index.note or "was cut" in index.note


@pytest.mark.parametrize("size", [-512, -1024, -(2**80)])
def test_a_first_header_may_be_the_one(tmp_path: Path, size: int) -> None:
    shard = tmp_path / "x.tar"
    shard.write_bytes(header("n.mp4", size) + END)
    assert load_index(shard, None).samples == ()
    with pytest.raises(NoSamplesError, match="is damaged"):
        open_source(DataSetConfig(path=shard))


def test_a_sparse_member_is_passed_over(tmp_path: Path) -> None:
    """Its bytes are not there as a whole, and its size says nothing."""
    records = record("GNU.sparse.size", "5000") + record("GNU.sparse.numblocks", "0")
    shard = tmp_path / "x.tar"
    shard.write_bytes(good() + extension(b"x", records) + good("s.mp4") + good("c.mp4") + END)
    index = load_index(shard, None)
    assert [sample.key for sample in index.samples] == ["a", "c"]
