"""The buttons under a card: re-roll, delete, cancel; also after a restart."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bot.conftest import World, picture
from tests.bot.test_imagine import fields


async def reroll(world: World, who: Any, message: Any) -> Any:
    result = await who.click(message, label="Re-roll")
    assert result.response.id != message.id
    return await world.clip(result.response.id)


async def test_reroll_changes_the_seed_only(world: World) -> None:
    first = await world.imagine("a cat", negative="rain", seed=5, steps=4, fps=4, guidance=2.0)
    second = await reroll(world, world.bob, first)
    was, now = fields(first.embeds[0]), fields(second.embeds[0])
    assert was.pop("Seed") != now.pop("Seed")
    del was["Time"], now["Time"]
    assert was == now
    assert second.embeds[0].description == "a cat"
    original, again = world.query(
        "select g.id, j.parent_generation_id, j.user_id from generations g"
        " join jobs j on j.id = g.job_id order by g.created_at"
    )
    assert again["parent_generation_id"] == original["id"]
    assert again["user_id"] == world.bob.id


async def test_reroll_keeps_the_expanded_prompt(world: World) -> None:
    first = await world.imagine("a cat", expand=True)
    await reroll(world, world.alice, first)
    one, two = world.query("select distinct expanded_prompt, prompt from generations") * 2
    assert one == two
    assert one["expanded_prompt"] != one["prompt"]


async def test_reroll_of_a_picture(world: World) -> None:
    result = await world.alice.slash(world.channel, "animate", image=("a.png", picture()))
    first = await world.clip(result.response.id)
    await reroll(world, world.alice, first)
    jobs = world.query("select kind, image_asset_id from jobs")
    assert jobs == [{"kind": "animate", "image_asset_id": 1}] * 2


async def test_the_owner_deletes(world: World) -> None:
    message = await world.imagine()
    (generation,) = world.query("select path from generations")
    file = world.settings.data_dir / generation["path"]
    assert file.exists()
    await world.alice.click(message, label="Delete")
    assert world.message(message.id) is None
    assert not file.exists()
    assert not file.with_suffix(".json").exists()
    (generation,) = world.query("select deleted_at from generations")
    assert generation["deleted_at"] is not None


async def test_others_do_not_delete_but_moderators_do(world: World) -> None:
    message = await world.imagine()
    result = await world.bob.click(message, label="Delete")
    assert world.message(message.id) is not None
    (answer,) = result.followups
    assert answer.ephemeral
    assert "moderator" in answer.content
    await world.moderator.click(message, label="Delete")
    assert world.message(message.id) is None


async def test_a_message_deleted_in_discord_counts_as_deleted(world: World) -> None:
    message = await world.imagine()
    await world.moderator.delete(message)
    (generation,) = world.query("select deleted_at, path from generations")
    assert generation["deleted_at"] is not None
    assert not (world.settings.data_dir / generation["path"]).exists()


async def test_cancel_a_running_and_a_waiting_job(world: World) -> None:
    running = await world.alice.slash(world.channel, "imagine", prompt="a cat", steps=60)
    waiting = await world.bob.slash(world.channel, "imagine", prompt="a dog", steps=60)
    message = world.message(running.response.id)
    denied = await world.bob.click(message, label="Cancel")
    assert denied.followups[0].ephemeral
    await world.bob.click(world.message(waiting.response.id), label="Cancel")
    await world.moderator.click(message, label="Cancel")
    for result in (running, waiting):
        identity = result.response.id
        await world.until(lambda identity=identity: _cancelled(world, identity))
    assert world.query("select distinct state from jobs") == [{"state": "cancelled"}]
    assert world.query("select * from generations") == []
    assert await world.imagine("still at work", steps=1)


def _cancelled(world: World, message_id: int) -> bool:
    message = world.message(message_id)
    return message is not None and message.content == "Cancelled." and not message.components


async def test_deleting_the_message_of_a_running_job_cancels_it(world: World) -> None:
    result = await world.alice.slash(world.channel, "imagine", prompt="a cat", steps=60)
    await world.moderator.delete(world.message(result.response.id))
    await world.until(lambda: world.query("select * from jobs where state = 'cancelled'"))


@pytest.mark.parametrize("label", ["Re-roll", "Delete"])
async def test_buttons_of_forgotten_clips_say_so(world: World, label: str) -> None:
    message = await world.imagine()
    world.execute("delete from generations")
    result = await world.alice.click(message, label=label)
    answers = [answer for answer in [result.response, *result.followups] if answer is not None]
    assert answers[-1].ephemeral
    assert "not known" in answers[-1].content
