"""What deleting a clip takes along, and what becomes of pictures without one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import av
import pytest

from bot.settings import Settings
from tests.bot.conftest import World, make_world, picture
from tests.bot.test_job_commands import told, under_way

WORDS, UNWANTED = "a secret rendezvous", "nobody else"


def uploads(world: World) -> list[Path]:
    folder = world.settings.data_dir / "uploads"
    return list(folder.iterdir()) if folder.exists() else []


def rows(world: World) -> str:
    """Every row of every table, to look for words in."""
    tables = ("jobs", "generations", "expansions", "users", "assets", "ratings")
    return json.dumps([world.query(f"select * from {table}") for table in tables])


async def animation(world: World, who: Any = None, **options: Any) -> Any:
    result = await (who or world.alice).slash(
        world.channel, "animate", image=("a.png", picture()), steps=1, **options
    )
    return await world.clip(result.response.id)


@pytest.mark.parametrize("how", ["button", "message", "moderator"])
async def test_deleting_a_clip_takes_its_words_and_picture(world: World, how: str) -> None:
    message = await animation(world, prompt=WORDS, negative=UNWANTED, expand=True)
    assert WORDS in rows(world)
    if how == "message":
        await world.moderator.delete(message)
    else:
        who = world.alice if how == "button" else world.moderator
        await who.click(message, label="Delete")
    await world.until(lambda: not uploads(world))
    left = rows(world)
    assert WORDS not in left
    assert UNWANTED not in left
    (clip,) = world.query("select * from generations")
    assert (clip["prompt"], clip["expanded_prompt"], clip["negative_prompt"]) == ("", None, None)
    assert clip["deleted_at"] is not None
    assert not list((world.settings.data_dir / "outputs").rglob("*.*"))


async def test_a_picture_stays_while_another_clip_needs_it(world: World) -> None:
    first = await animation(world, seed=1)
    again = await world.bob.click(first, label="Re-roll")
    second = await world.clip(again.response.id)
    await world.until(lambda: len(world.query("select 1 from jobs where state='delivered'")) == 2)
    await world.alice.click(first, label="Delete")
    assert len(uploads(world)) == 1
    await world.bob.click(second, label="Delete")
    assert uploads(world) == []


async def test_a_picture_stays_while_a_job_that_waits_needs_it(world: World) -> None:
    await under_way(world, world.bob, "in the way")
    waiting = await world.alice.slash(world.channel, "animate", image=("a.png", picture()), steps=1)
    twin = await world.moderator.slash(
        world.channel, "animate", image=("b.png", picture()), steps=1
    )
    await world.alice.slash(world.channel, "cancel")
    await asyncio.sleep(0.2)
    assert len(uploads(world)) == 1
    assert await world.clip(twin.response.id)
    assert waiting.response.id


async def test_a_picture_goes_with_its_failed_or_cancelled_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.alice.slash(world.channel, "animate", image=("a.png", picture()), steps=60)
    assert len(uploads(world)) == 1
    await world.alice.slash(world.channel, "cancel")
    await world.until(lambda: not uploads(world))
    monkeypatch.setattr("engine.serving.execution.batch_runner.find_ffmpeg", _missing)
    await world.alice.slash(world.channel, "animate", image=("a.png", picture()), steps=1)
    await world.until(lambda: world.query("select 1 from jobs where state = 'failed'"))
    await world.until(lambda: not uploads(world))


def _missing() -> str:
    raise OSError("there is no ffmpeg")


async def test_the_same_picture_can_be_sent_again_after_it_went(world: World) -> None:
    message = await animation(world)
    await world.alice.click(message, label="Delete")
    assert uploads(world) == []
    await animation(world)
    assert len(uploads(world)) == 1
    assert len(world.query("select * from assets")) == 1


@pytest.mark.parametrize("command", ["imagine", "animate"])
async def test_a_deleted_clip_is_not_rolled_again(world: World, command: str) -> None:
    message = await (world.imagine(WORDS) if command == "imagine" else animation(world))
    (clip,) = world.query("select id from generations")
    await world.bot.store.remove_clip(clip["id"])  # and Discord did not delete the message
    said = await world.bob.click(message, label="Re-roll")
    assert "was deleted" in told(said)
    assert len(world.query("select id from jobs")) == 1


async def test_a_clip_that_retention_removed_can_be_rolled_again_until_somebody_deletes_it(
    world: World,
) -> None:
    message = await world.imagine(WORDS, steps=1)
    (clip,) = world.query("select id from generations")
    assert await world.bot.store.expire_clips([clip["id"]]) == {clip["id"]}
    again = await world.bob.click(message, label="Re-roll")
    assert await world.clip(again.response.id)
    await world.moderator.delete(message)
    said = world.query("select prompt from generations where id = ?", clip["id"])
    assert said == [{"prompt": ""}]


async def test_the_words_of_a_job_go_with_its_message(world: World) -> None:
    running = await under_way(world, world.alice, WORDS)
    await world.moderator.delete(world.message(running.response.id))
    await world.until(lambda: world.query("select 1 from jobs where state = 'cancelled'"))
    await world.until(lambda: WORDS not in rows(world))


async def test_the_file_carries_the_prompt_only_if_the_operator_wants(
    overrides: dict[str, Any],
) -> None:
    for wanted in (True, False):
        overrides["clips"] = {"prompt_in_metadata": wanted}
        overrides["data_dir"] += "x"
        async with make_world(Settings.load(overrides=overrides)) as world:
            message = await world.imagine(WORDS, negative=UNWANTED, steps=1, seed=7)
            (file,) = (world.settings.data_dir / "outputs").rglob("*.mp4")
            with av.open(str(file)) as container:
                facts = json.loads(container.metadata["comment"])
            assert facts["seed"] == 7
            assert (facts.get("prompt"), facts.get("negative_prompt")) == (
                (WORDS, UNWANTED) if wanted else (None, None)
            )
            assert (WORDS.encode() in await message.attachments[0].read()) is wanted
            assert json.loads(file.with_suffix(".json").read_text())["prompt"] == WORDS


async def test_the_card_names_the_words_that_are_not_read(world: World) -> None:
    words = ", ".join(["a red circle moving to the left over green grass"] * 9) + " zebra"
    message = await world.imagine(words, negative="rain, " * 80 + "hail", steps=1)
    fields = {field.name: field.value for field in message.embeds[0].fields}
    prompt = fields["Too long for the model, not read of the prompt"]
    negative = fields["Too long for the model, not read of the negative prompt"]
    assert words.endswith(prompt.removesuffix("…").removesuffix(" zebra")) or prompt.endswith("…")
    assert negative.startswith(("rain", ","))
    assert len(message.embeds[0]) <= 6000
    (clip,) = world.query("select unread, unread_negative from generations")
    assert clip["unread"].endswith("zebra")
    assert clip["unread_negative"].endswith("hail")


async def test_a_short_prompt_has_no_such_field(world: World) -> None:
    message = await world.imagine("a cat", negative="rain", steps=1)
    assert "not read" not in str([field.name for field in message.embeds[0].fields])


async def test_what_is_ordered_and_cancelled_again_and_again_leaves_nothing(world: World) -> None:
    """Cancelled at once, while the job is still being handed to the engine."""
    rounds = 10
    for number in range(rounds):
        sent = picture(size=(60 + number, 40))
        await world.alice.slash(world.channel, "animate", image=("a.png", sent), steps=60)
        await world.alice.slash(world.channel, "cancel")
    cancelled = "select id from jobs where state = 'cancelled'"
    await world.until(lambda: len(world.query(cancelled)) == rounds)
    await world.until(lambda: not uploads(world))
    await world.until(lambda: not world.bot.studio.busy)
