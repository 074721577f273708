"""Pictures on their way from Discord to the data folder."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import discord
import numpy as np
import pytest
from PIL import Image

from bot.errors import UserError
from bot.jobs.attachments import Picture, fetch, keep
from engine.serving.media.input_images import decode_picture
from tests.bot.conftest import World, picture

LIMIT, PIXELS = 10_000_000, 25_000_000


def attachment(content: bytes | BaseException, size: int | None = None) -> Any:
    async def read() -> bytes:
        if isinstance(content, BaseException):
            raise content
        return content

    stated = size if size is not None else len(content) if isinstance(content, bytes) else 1
    return SimpleNamespace(id=1, size=stated, read=read)


def response(status: int) -> Any:
    return SimpleNamespace(status=status, reason="x")


NOT_ARRIVED = {
    "payload": aiohttp.ClientPayloadError("Response payload is not completed"),
    "disconnected": aiohttp.ServerDisconnectedError(),
    "refused": aiohttp.ClientConnectionError("no route"),
    "reset": ConnectionResetError("reset by peer"),
    "timeout": TimeoutError(),
    "not found": discord.NotFound(response(404), "asset not found"),
    "forbidden": discord.Forbidden(response(403), "cannot retrieve asset"),
    "server error": discord.HTTPException(response(500), "failed to get asset"),
    "invalid address": aiohttp.InvalidURL("x"),
    "closed": discord.ClientException("closed"),
}


@pytest.mark.parametrize("error", NOT_ARRIVED.values(), ids=NOT_ARRIVED)
async def test_a_picture_that_does_not_arrive_is_asked_for_again(error: BaseException) -> None:
    with pytest.raises(UserError, match="send it again"):
        await fetch(attachment(error), LIMIT, PIXELS)


@pytest.mark.parametrize("name", ["payload", "timeout", "server error"])
async def test_the_user_is_told_so(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    async def read(self: discord.Attachment, **_: Any) -> bytes:
        raise NOT_ARRIVED[name]

    monkeypatch.setattr(discord.Attachment, "read", read)
    result = await world.alice.slash(world.channel, "animate", image=("a.png", picture()))
    answers = [answer for answer in [result.response, *result.followups] if answer is not None]
    assert any("send it again" in answer.content for answer in answers)
    assert world.query("select id from jobs") == []
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_picture_that_is_larger_than_it_says_is_refused() -> None:
    with pytest.raises(UserError, match="larger than"):
        await fetch(attachment(b"x" * 2_000, size=10), 1_000, PIXELS)


async def test_what_is_kept_decodes_to_the_same_pixels(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "camera", 6
    sent = picture("JPEG", exif=exif)
    fetched = await fetch(attachment(sent), LIMIT, PIXELS)
    asset = await keep(fetched, tmp_path)
    kept = (tmp_path / asset.path).read_bytes()
    assert (asset.mime, asset.width, asset.height) == ("image/png", 40, 60)
    assert b"camera" not in kept
    assert fetched.image is not None
    assert np.array_equal(decode_picture(kept), fetched.image)
    assert np.array_equal(decode_picture(kept), decode_picture(sent))


async def test_one_picture_with_two_notes_is_kept_once(tmp_path: Path) -> None:
    assets = set()
    for maker in ("one", "two"):
        exif = Image.Exif()
        exif[0x010F] = maker
        fetched = await fetch(attachment(picture("JPEG", exif=exif)), LIMIT, PIXELS)
        assets.add((await keep(fetched, tmp_path)).path)
    assert len(assets) == 1


def test_a_picture_is_its_bytes() -> None:
    image = Image.new("RGB", (8, 8))
    assert Picture(b"x", 8, 8, image) == Picture(b"x", 8, 8)


MEMORY = textwrap.dedent(
    """
    import asyncio, io, resource
    from types import SimpleNamespace
    from PIL import Image
    from bot.jobs.attachments import fetch

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

    file = io.BytesIO()
    Image.new(MODE, (5000, 5000)).save(file, KIND)
    content = file.getvalue()

    async def read():
        return content

    async def main():
        attachment = SimpleNamespace(size=len(content), id=1, read=read)
        before = peak()
        await fetch(attachment, 10_000_000, 25_000_000)
        one = peak()
        await asyncio.gather(*(fetch(attachment, 10_000_000, 25_000_000) for _ in range(12)))
        print(before, one, peak())

    asyncio.run(main())
    """
)


@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("RGB", "JPEG")])
def test_many_large_pictures_take_little_more_memory_than_one(mode: str, kind: str) -> None:
    script = MEMORY.replace("MODE", repr(mode)).replace("KIND", repr(kind))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True
    )
    _, one, twelve = (int(word) for word in done.stdout.split())

    assert twelve - one < 350


async def test_waiting_pictures_keep_no_thread_from_others() -> None:
    file = io.BytesIO()
    Image.new("RGB", (3000, 3000)).save(file, "PNG")
    many = [
        asyncio.create_task(fetch(attachment(file.getvalue()), LIMIT, PIXELS)) for _ in range(40)
    ]
    await asyncio.sleep(0)
    assert await asyncio.to_thread(lambda: "at once") == "at once"
    assert not all(task.done() for task in many)
    await asyncio.gather(*many)
