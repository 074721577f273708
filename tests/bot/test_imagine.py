"""/imagine from the command to the clip."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pytest

from bot.settings import Settings
from engine.serving import GenerationRequest, Started
from tests.bot.conftest import World, make_world


def fields(embed: Any) -> dict[str, str]:
    return {field.name: field.value for field in embed.fields}


def contents(world: World) -> list[str]:
    """The texts that the bot's messages have had, in order."""
    bodies = [request.json for request in world.env.http_requests if isinstance(request.json, dict)]
    return [body["content"] for body in bodies if body.get("content")]


async def test_a_prompt_becomes_a_clip_in_one_message(world: World, tmp_path: Path) -> None:
    result = await world.alice.slash(
        world.channel,
        "imagine",
        prompt="a cat on a boat",
        negative="rain",
        seed=7,
        steps=5,
        fps=4,
        guidance=2.5,
        size="48x32",
    )
    callback = next(r for r in world.env.http_requests if r.method == "POST")
    assert callback.path.endswith("/callback")
    assert callback.json["type"] == 5  # acknowledged before any work
    message = await world.clip(result.response.id)
    assert [m.id for m in world.messages()] == [message.id]

    (attachment,) = message.attachments
    assert "cat" not in attachment.filename
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(await attachment.read())
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(clip))
    assert (frames, seconds) == (4, pytest.approx(1.0))

    (embed,) = message.embeds
    assert embed.description == "a cat on a boat"
    shown = fields(embed)
    assert float(shown.pop("Time").removesuffix(" s")) >= 0
    assert shown == {
        "Negative": "rain",
        "Seed": "7",
        "Model": "tiny-t2v",
        "Steps": "5",
        "FPS": "4",
        "Guidance": "2.5",
        "Size": "48×32",
    }
    assert [str(reaction.emoji) for reaction in message.reactions] == ["👍", "👎"]
    assert [button.label for row in message.components for button in row.children] == [
        "Re-roll",
        "Delete",
    ]


async def test_the_message_shows_queue_progress_and_preview(world: World) -> None:
    # Somebody's clip is being made, so that this one waits, and not just for the device's thread.
    before = world.bot.engine.submit(
        GenerationRequest(job_id="before", model="tiny-t2v", prompt="a dog", seed=1, steps=50)
    )
    async with contextlib.aclosing(before.events()) as events:
        await anext(event async for event in events if isinstance(event, Started))
    await world.imagine(steps=8)
    texts = contents(world)
    assert any("In the queue: next" in text for text in texts)
    percents = [text.split("` ")[1].split("%")[0] for text in texts if "%" in text]
    assert len(set(percents)) > 1
    assert percents == sorted(percents, key=int)
    assert "preview.webp" in str(
        [request.json for request in world.env.http_requests if request.method == "PATCH"]
    )


async def test_job_and_clip_are_in_the_database(world: World) -> None:
    message = await world.imagine("a cat", seed=11)
    (job,) = world.query("select * from jobs")
    (generation,) = world.query("select * from generations")
    assert job["state"] == "delivered"
    assert (job["user_id"], job["message_id"]) == (world.alice.id, message.id)
    assert job["guild_id"] == world.guild.id
    assert generation["job_id"] == job["id"]
    assert (generation["prompt"], generation["seed"]) == ("a cat", 11)
    assert generation["model"] == "tiny-t2v"
    file = world.settings.data_dir / generation["path"]
    assert file.read_bytes() == await message.attachments[0].read()
    assert "cat" not in file.name


async def test_without_a_seed_every_clip_has_its_own(world: World) -> None:
    await world.imagine()
    await world.imagine()
    first, second = world.query("select seed from jobs")
    assert first != second


async def test_prompts_are_expanded_only_when_wanted(world: World) -> None:
    plain = await world.imagine("a cat", seed=1)
    assert "Expanded prompt" not in fields(plain.embeds[0])
    assert world.query("select * from expansions") == []

    expanded = await world.imagine("a cat", seed=1, expand=True)
    (row,) = world.query("select * from expansions")
    assert row["original"] == "a cat"
    assert len(row["expanded"]) > len("a cat")
    assert expanded.embeds[0].description == "a cat"
    assert "a cat" in fields(expanded.embeds[0])["Expanded prompt"]
    plain_row, expanded_row = world.query(
        "select prompt, expanded_prompt from generations order by created_at"
    )
    assert plain_row == {"prompt": "a cat", "expanded_prompt": None}
    assert expanded_row == {"prompt": "a cat", "expanded_prompt": row["expanded"]}


async def test_models_and_sizes_are_offered(world: World) -> None:
    offered = await world.alice.autocomplete(world.channel, "imagine", "model", "tiny")
    assert [choice["value"] for choice in offered] == ["tiny-t2v"]
    assert await world.alice.autocomplete(world.channel, "imagine", "model", "zzz") == []
    sizes = await world.alice.autocomplete(world.channel, "imagine", "size", "", model="tiny-t2v")
    assert [choice["value"] for choice in sizes] == ["32x32", "48x32"]
    for_pictures = await world.alice.autocomplete(world.channel, "animate", "model", "")
    assert {choice["value"] for choice in for_pictures} == {"tiny-i2v", "demo-i2v"}


async def test_several_users_are_served_in_turn(world: World) -> None:
    first = await world.alice.slash(world.channel, "imagine", prompt="one", steps=20)
    await world.until(lambda: world.query("select id from jobs where state = 'running'"))
    second = await world.bob.slash(world.channel, "imagine", prompt="two")
    third = await world.moderator.slash(world.channel, "imagine", prompt="three")
    for result in (first, second, third):
        await world.clip(result.response.id)
    prompts = [
        row["prompt"] for row in world.query("select * from generations order by created_at")
    ]
    assert prompts == ["one", "two", "three"]
    assert any("In the queue: place 2" in text for text in contents(world))


async def test_the_card_says_that_the_users_own_words_are_used(overrides: dict[str, Any]) -> None:
    """The server of the expansion does not answer."""
    overrides["expansion"] = {
        "backend": "openai",
        "base_url": "http://127.0.0.1:9/v1",
        "model": "none",
        "timeout_s": 1.0,
    }
    async with make_world(Settings.load(overrides=overrides)) as world:
        message = await world.imagine("a cat", expand=True, steps=1)
        assert "own words" in " ".join(fields(message.embeds[0]).values())
