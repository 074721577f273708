"""/animate from the picture to the clip."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from PIL import Image

from bot.jobs.parameters import DEFAULT_MOTION
from tests.bot.conftest import World, picture


async def animate(world: World, content: bytes, name: str = "my cat.png", **options: Any) -> Any:
    result = await world.alice.slash(world.channel, "animate", image=(name, content), **options)
    return await world.clip(result.response.id)


async def test_a_picture_becomes_a_clip(world: World) -> None:
    content = picture()
    message = await animate(world, content, prompt="it waves", seed=3)
    assert message.attachments[0].filename.endswith(".mp4")
    assert message.embeds[0].description == "it waves"
    (asset,) = world.query("select * from assets")
    digest = hashlib.sha256(content).hexdigest()
    assert (asset["sha256"], asset["mime"]) == (digest, "image/png")
    assert (asset["width"], asset["height"]) == (60, 40)
    assert asset["path"] == f"uploads/{digest}"
    assert (world.settings.data_dir / asset["path"]).read_bytes() == content
    (job,) = world.query("select * from jobs")
    assert (job["kind"], job["image_asset_id"]) == ("animate", asset["id"])


async def test_words_are_optional(world: World) -> None:
    message = await animate(world, picture())
    assert message.embeds[0].description == DEFAULT_MOTION


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
async def test_kinds_of_pictures(world: World, kind: str) -> None:
    await animate(world, picture(kind), name="whatever.bin")
    (asset,) = world.query("select mime from assets")
    assert asset["mime"] == f"image/{kind.lower()}"


async def test_an_animated_picture_gives_its_first_frame(world: World) -> None:
    more = [Image.new("RGB", (60, 40), colour) for colour in ("red", "blue")]
    await animate(world, picture("GIF", save_all=True, append_images=more))
    assert world.query("select state from jobs") == [{"state": "delivered"}]


async def test_the_same_picture_is_kept_once(world: World) -> None:
    await animate(world, picture(), seed=1)
    await animate(world, picture(), seed=2)
    assert len(world.query("select * from assets")) == 1
    assert len(list((world.settings.data_dir / "uploads").iterdir())) == 1
