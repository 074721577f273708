"""Cards reach people though tokens expire, messages vanish and Discord stumbles."""

from __future__ import annotations

import contextvars
from typing import Any

from bot.settings import Settings
from tests.bot.conftest import World, make_world
from tests.bot.test_restart import restart


def edits(world: World, path: str) -> int:
    return sum(
        request.method == "PATCH" and path in request.path for request in world.env.http_requests
    )


async def test_while_the_token_lives_the_interaction_is_used(world: World) -> None:
    with world.env.time_context():
        world.bot.background.use_context(contextvars.copy_context())
    await world.imagine(steps=4)
    assert edits(world, "/webhooks/") > 2
    assert edits(world, "/channels/") == 0


async def test_a_token_that_died_early_is_no_obstacle(world: World) -> None:
    with world.env.time_context():
        world.bot.background.use_context(contextvars.copy_context())
    started = await world.alice.slash(world.channel, "imagine", prompt="a cat", steps=20)
    world.env.inject_error(
        "PATCH", "/webhooks/*", status=404, code=10015, message="Unknown Webhook", times=None
    )
    await world.clip(started.response.id)
    assert edits(world, "/channels/") > 0


async def test_without_its_message_a_clip_is_sent_anew(world: World) -> None:
    started = await world.alice.slash(world.channel, "imagine", prompt="a cat", steps=20)
    world.env.inject_error("PATCH", "/channels/*/messages/*", status=404, code=10008, times=None)
    (job,) = await world.until(lambda: world.query("select * from jobs where state = 'delivered'"))
    assert job["message_id"] != started.response.id
    sent = await world.clip(job["message_id"])
    assert sent.attachments
    await world.bob.react(sent, "👍")
    assert len(world.query("select * from ratings")) == 1


async def test_without_its_channel_a_clip_comes_as_a_direct_message(world: World) -> None:
    await world.alice.slash(world.channel, "imagine", prompt="a cat", steps=20)
    for method, path in (("PATCH", "messages/*"), ("POST", "messages")):
        world.env.inject_error(
            method, f"/channels/{world.channel.id}/{path}", status=403, code=50001, times=None
        )
    (job,) = await world.until(lambda: world.query("select * from jobs where state = 'delivered'"))
    assert job["channel_id"] != world.channel.id


async def test_a_clip_that_nobody_can_be_given_is_kept_and_tried_again(world: World) -> None:
    await world.alice.slash(world.channel, "imagine", prompt="a cat", steps=20)
    for method in ("PATCH", "POST"):
        world.env.inject_error(method, "/channels/*", status=403, code=50001, times=None)
    undelivered = "select * from jobs where reason = 'undelivered'"
    (job,) = await world.until(lambda: world.query(undelivered))
    assert job["state"] == "rendered"
    assert "closed to the bot" in job["error"]
    assert len(world.query("select * from generations")) == 1
    world.env.backend.faults.clear()
    assert await world.imagine("the bot lives on", steps=1)
    await restart(world)
    await world.until(lambda: not world.query("select * from jobs where state <> 'delivered'"))
    assert [job["attempts"] for job in world.query("select attempts from jobs")] == [1, 1]


async def test_progress_that_cannot_be_shown_is_left_out(world: World) -> None:
    world.env.inject_error("PATCH", "/channels/*", status=500, times=3)
    assert await world.imagine(steps=10)


async def test_a_clip_aims_at_the_limit_that_the_request_was_told(world: World) -> None:
    message = await world.imagine("a cat", steps=2)
    (row,) = world.query("select * from generations")
    whole = (world.settings.data_dir / row["path"]).stat().st_size
    assert message.attachments[0].size == whole
    world.execute("update jobs set state = 'rendered', upload_limit = ?", whole // 2)
    world.env.inject_error("GET", "/channels/*/messages/*", status=404, code=10008, times=None)
    await restart(world)
    await world.until(lambda: world.query("select * from jobs where state = 'delivered'"))
    world.env.backend.faults.clear()
    again = world.message(message.id)
    assert again is not None
    assert again.attachments[0].size <= whole // 2


async def test_a_clip_can_be_a_picture_that_moves(world: World) -> None:
    result = await world.alice.slash(world.channel, "imagine", prompt="a cat", format="gif")
    await world.until(lambda: world.query("select * from jobs where state = 'delivered'"))
    message = world.message(result.response.id)
    assert message is not None
    (sent,) = message.attachments
    assert sent.filename.endswith(".gif")
    assert (await sent.read())[:6] == b"GIF89a"


async def test_a_clip_that_nothing_makes_small_enough_is_announced(world: World) -> None:
    running = await world.bob.slash(world.channel, "imagine", prompt="a dog", steps=60)
    waiting = await world.alice.slash(world.channel, "imagine", prompt="a cat", steps=1)
    # The next run takes the job, and with it the limit, from the database.
    await world.bot.close()
    world.execute("update jobs set upload_limit = 10 where prompt = 'a cat'")
    await restart(world)
    await world.clip(running.response.id)
    await world.until(
        lambda: world.query("select distinct state from jobs") == [{"state": "delivered"}]
    )
    message = world.message(waiting.response.id)
    assert message is not None
    assert "cannot be uploaded here" in message.content
    assert not message.attachments
    assert message.embeds[0].description == "a cat"


async def test_no_reactions_where_they_are_not_allowed(world: World) -> None:
    world.env.inject_error("PUT", "*/reactions/*", status=403, code=50013, times=None)
    await world.alice.slash(world.channel, "imagine", prompt="a cat")
    await world.until(lambda: world.query("select * from jobs where state = 'delivered'"))


async def test_edits_are_throttled(overrides: dict[str, Any]) -> None:
    async with make_world(Settings.load(overrides=overrides), edit_interval_s=3600) as world:
        await world.imagine(steps=30)
        # The first edit and the last; what lies between would come an hour later.
        assert edits(world, "/webhooks/") + edits(world, "/channels/") == 2


async def test_progress_put_off_is_shown_later(overrides: dict[str, Any]) -> None:
    async with make_world(Settings.load(overrides=overrides), edit_interval_s=0.2) as world:
        await world.imagine(steps=60)
        assert edits(world, "/channels/") > 2
