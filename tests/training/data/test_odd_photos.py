"""A photograph is a photograph, whatever its camera has noted about it."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import training.data.reader
from engine.serving.media.input_images import PictureError, decode_picture
from tests.training.data.sets import data_config, jpeg, write_mp4
from training.data.config import ResolutionConfig
from training.data.errors import SampleError
from training.data.images import picture_size, read_picture
from training.data.joint import ImageVideoLoader
from training.data.reader import MediaReader
from training.data.sources.folder import FolderSource

ORIENTATION, ASCII, SHORT, LONG, SRATIONAL = 0x0112, 2, 3, 4, 10
Entry = tuple[int, int, int, bytes]


def directory(entries: list[Entry]) -> bytes:
    packed = b"".join(
        struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
        for tag, kind, count, value in entries
    )
    return struct.pack("<H", len(entries)) + packed + b"\0" * 4


def turned(orientation: int = 6, *more: Entry, behind: bytes = b"") -> bytes:
    """EXIF notes of a picture that lies on its side, and others."""
    entries = [*more, (ORIENTATION, SHORT, 1, struct.pack("<H", orientation))]
    return b"Exif\0\0II*\0\x08\0\0\0" + directory(sorted(entries)) + behind


def with_a_bias_of_two_by_none() -> bytes:
    second = 8 + 2 + 2 * 12 + 4
    value = second + 2 + 12 + 4
    bias = directory([(0x9204, SRATIONAL, 1, struct.pack("<I", value))]) + struct.pack("<ii", -2, 0)
    return turned(6, (0x8769, LONG, 1, struct.pack("<I", second)), behind=bias)


NOTES = {
    "plain": turned(),
    "a bias of -2/0": with_a_bias_of_two_by_none(),
    "a letter for a width": turned(6, (0x0100, ASCII, 2, b"x\0")),
    "a letter for a number": turned(6, (0x0102, ASCII, 2, b"x\0")),
    "a directory that is nowhere": turned(6, (0x8769, LONG, 1, b"\xff\xff\xff\x7f")),
    "places that are nowhere": turned(6, (0x8825, LONG, 1, b"\xff\xff\xff\x7f")),
}


def photograph(notes: bytes, kind: str = "JPEG") -> bytes:
    """48 x 32, the left half dark; upright the upper half is dark."""
    pixels = np.full((32, 48, 3), 220, np.uint8)
    pixels[:, :24] = 20
    file = io.BytesIO()
    options = {"quality": 95} if kind == "JPEG" else {"lossless": True}
    Image.fromarray(pixels).save(file, kind, exif=notes, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("notes", NOTES.values(), ids=NOTES)
def test_it_is_taken_and_upright(notes: bytes, kind: str) -> None:
    """Pillow#8965, #7839, #6882, #3973."""
    data = photograph(notes, kind)
    picture = np.asarray(decode_picture(data))
    assert picture.shape == (48, 32, 3)
    assert picture[:20].mean() < 60 < 180 < picture[28:].mean()
    assert np.array_equal(read_picture(data), picture)
    assert picture_size(io.BytesIO(data)) == (32, 48)


def test_strips_that_begin_nowhere_are_damage() -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((16, 16), np.float32)).save(file, "TIFF")
    data = bytearray(file.getvalue())
    place = data.index(struct.pack("<HH", 273, 4))
    data[place + 2 : place + 4] = struct.pack("<H", 11)  # a float where a place should be
    with pytest.raises(PictureError, match="damaged"):
        decode_picture(bytes(data))
    with pytest.raises(SampleError, match="broken picture"):
        read_picture(bytes(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
def test_whatever_a_decoder_raises_is_about_the_picture(kind: str) -> None:
    options = {"exif": turned()} if kind in {"JPEG", "PNG", "WEBP", "TIFF"} else {}
    file = io.BytesIO()
    Image.new("RGB", (16, 12), "red").save(file, kind, **options)
    whole = file.getvalue()
    draw = random.Random(kind)
    outcomes = set()
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(draw.choice([1, 3, 9])):
            data[draw.randrange(min(len(data), 300))] = draw.randrange(256)
        for read in (read_picture, lambda data: picture_size(io.BytesIO(data))):
            try:
                read(bytes(data))
                outcomes.add("read")
            except SampleError as error:
                outcomes.add(error.reason)
    assert outcomes <= {"read", "broken picture", "too many pixels"}
    assert len(outcomes) > 1


FAULTS = [struct.error("x"), TypeError("x"), ZeroDivisionError(), RecursionError(), MemoryError()]


def photo_set(folder: Path, odd: bytes) -> tuple[Path, Path]:
    clips, pictures = folder / "clips", folder / "pictures"
    pictures.mkdir()
    write_mp4(clips / "a.mp4", np.zeros((40, 64, 64, 3), np.uint8))
    (clips / "a.txt").write_text("nothing")
    for number in range(6):
        (pictures / f"{number}.jpg").write_bytes(odd if number == 2 else photograph(b""))
        (pictures / f"{number}.txt").write_text("a photograph")
    return clips, pictures


@pytest.mark.parametrize("notes", NOTES.values(), ids=NOTES)
def test_none_ends_a_run(tmp_path: Path, notes: bytes) -> None:
    clips, pictures = photo_set(tmp_path, photograph(notes))
    config = data_config(clips, pictures=pictures, picture_share=0.5, width=32, height=32)
    with ImageVideoLoader(config, batch_size=2, seed=0) as loader:
        for step in range(8):
            loader.step(step)
        assert loader.skipped == {}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("workers", [0, 2])
def test_what_nobody_has_foreseen_ends_none_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, workers: int
) -> None:
    """Wherever it is raised while a sample is read."""
    clips, pictures = photo_set(tmp_path, jpeg(33, 33))
    read = training.data.reader.read_picture

    def fails(data: bytes) -> object:
        if len(data) == len(jpeg(33, 33)):
            raise fault
        return read(data)

    monkeypatch.setattr(training.data.reader, "read_picture", fails)
    config = data_config(
        clips, pictures=pictures, picture_share=0.5, width=32, height=32, workers=workers
    )
    with ImageVideoLoader(config, batch_size=2, seed=0) as loader:
        for step in range(8):
            loader.step(step)
        assert list(loader.skipped) == ["skipped pictures, cannot be read"]


def test_a_reader_says_which_sample_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photograph(NOTES["plain"])[:200])
    (tmp_path / "a.txt").write_text("half a photograph")
    reader = MediaReader(FolderSource(tmp_path), ResolutionConfig(width=32, height=32), None)
    with pytest.raises(SampleError, match=r"broken picture: a\.jpg"):
        reader.load(0, reader.bucket(0), np.random.default_rng(0))
