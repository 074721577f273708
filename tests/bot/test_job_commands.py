"""/queue, /history and /cancel, and how many jobs are taken at a time."""

from __future__ import annotations

import dataclasses
from typing import Any

import discord
import pytest

from bot.commands.jobs import queue_text
from bot.messages.text import in_about
from bot.settings import Settings
from engine.serving import QueueView, RunningJob, WaitingJob
from tests.bot.conftest import World, make_world
from tests.bot.test_restart import restart

LONG = 60


def told(result: Any) -> str:
    """The private answer to a command or click, whichever way it was sent."""
    message = result.followups[0] if result.followups else result.response
    assert message.ephemeral
    return str(message.content)


async def under_way(world: World, who: Any, prompt: str) -> Any:
    """A job that is being made, for some seconds."""
    result = await who.slash(world.channel, "imagine", prompt=prompt, steps=LONG)
    running = "select id from jobs where state = 'running'"
    await world.until(lambda: world.query(running))
    return result


async def test_the_queue_shows_the_users_own_places(world: World) -> None:
    await under_way(world, world.alice, "first")
    await world.bob.slash(world.channel, "imagine", prompt="second", steps=1)
    await world.until(lambda: world.bot.engine.queue().waiting)
    mine = await world.alice.slash(world.channel, "queue")
    theirs = await world.bob.slash(world.channel, "queue")
    other = await world.moderator.slash(world.channel, "queue")
    assert mine.response.ephemeral
    assert "Being made, done in" in mine.response.content
    assert "Place 1, begins in" in theirs.response.content
    assert "Being made" not in theirs.response.content
    assert other.response.content.startswith("Nothing of yours is waiting.")
    for result in (mine, theirs, other):
        assert "1 being made, 1 waiting" in result.response.content


def test_a_long_queue_is_told_in_few_words() -> None:
    waiting = tuple(
        WaitingJob(id=str(n), owner="1", position=n, wait_s=60.0 * n, wait_error=0.2, cost_s=60.0)
        for n in range(1, 301)
    )
    running = RunningJob(id="0", owner="2", device="cpu", elapsed_s=3.0, remaining_s=57.0)
    text = queue_text(QueueView(waiting=waiting, running=(running,)), "1")
    assert len(text) < 2000
    assert "Place 1, begins in about 1 min" in text
    assert "300 waiting" in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "in a moment"),
        (5.0, "in about 10 s"),
        (44.0, "in about 40 s"),
        (56.0, "in about 1 min"),
        (3599.0, "in about 1 h 00 min"),
        (7790.0, "in about 2 h 10 min"),
    ],
)
def test_estimates_are_told_as_roughly_as_they_are_known(seconds: float, words: str) -> None:
    assert in_about(seconds) == words


async def test_history_tells_what_became_of_everything(world: World) -> None:
    message = await world.imagine("a done cat", steps=1)
    running = await under_way(world, world.alice, "a cancelled cat")
    await world.alice.click(running.response, label="Cancel")
    answer = await world.alice.slash(world.channel, "history")
    shown = answer.response
    assert shown.ephemeral
    newest, oldest = shown.embeds[0].description.splitlines()
    assert newest.startswith("1. 🚫 a cancelled cat")
    assert oldest.startswith("2. ✅ a done cat")
    assert f"/{message.id}" in oldest
    nothing = await world.bob.slash(world.channel, "history")
    assert "not asked for a clip yet" in told(nothing)


async def test_a_clip_that_could_not_be_delivered_is_had_from_the_history(world: World) -> None:
    await world.imagine("a cat", steps=1)
    world.execute("update jobs set state = 'rendered', reason = 'undelivered', error = 'closed'")
    answer = await world.alice.slash(world.channel, "history")
    shown = answer.response
    assert "📦 a cat" in shown.embeds[0].description
    assert "closed" in shown.embeds[0].description
    sent = await world.alice.click(shown, label="Send 1")
    clip = sent.response
    assert clip.ephemeral
    assert (await clip.attachments[0].read())[4:8] == b"ftyp"
    assert world.query("select state from jobs") == [{"state": "delivered"}]


async def test_clips_are_sent_to_their_owner_only(world: World) -> None:
    await world.imagine("a cat", steps=1)
    shown = (await world.alice.slash(world.channel, "history")).response
    (job,) = world.query("select id from jobs")
    world.execute("insert into users (id, name, created_at) values (77, 'x', '2026-01-01')")
    world.execute("update jobs set user_id = 77 where id = ?", job["id"])
    refused = await world.alice.click(shown, label="Send 1")
    assert "Only who asked" in told(refused)


async def test_cancel_ends_one_or_all_of_the_users_own(world: World) -> None:
    await under_way(world, world.bob, "bob's")
    for prompt in ("one", "two", "three"):
        await world.alice.slash(world.channel, "imagine", prompt=prompt, steps=1)
    (two,) = world.query("select id from jobs where prompt = 'two'")
    said = await world.alice.slash(world.channel, "cancel", clip=two["id"])
    assert "“two”" in told(said)
    said = await world.alice.slash(world.channel, "cancel")
    assert "2 clips" in told(said)
    states = {row["prompt"]: row["state"] for row in world.query("select * from jobs")}
    assert states == {
        "bob's": "running",
        "one": "cancelled",
        "two": "cancelled",
        "three": "cancelled",
    }
    said = await world.alice.slash(world.channel, "cancel")
    assert "nothing of yours" in told(said)
    (bobs,) = world.query("select id from jobs where prompt = 'bob''s'")
    said = await world.alice.slash(world.channel, "cancel", clip=bobs["id"])
    assert "nothing of yours" in told(said)


async def test_a_cancellation_is_a_row_before_it_is_shown(world: World) -> None:
    result = await under_way(world, world.alice, "a cat")
    await world.alice.click(result.response, label="Cancel")
    (job,) = world.query("select * from jobs")
    assert job["state"] == "cancelled"
    assert job["finished_at"] is not None
    await world.until(lambda: not world.bot.engine.queue().running)  # within a step
    assert not list((world.settings.data_dir / "outputs").rglob("*.mp4"))
    assert await world.imagine("the next", steps=1)


async def test_the_refusal_of_one_too_many_says_when(overrides: dict[str, Any]) -> None:
    overrides["limits"] = {"max_active_jobs_per_user": 1, "max_active_jobs_per_guild": 2}
    async with make_world(Settings.load(overrides=overrides)) as world:
        await under_way(world, world.alice, "first")
        refused = await world.alice.slash(world.channel, "imagine", prompt="second")
        text = told(refused)
        assert "You have 1 clip under way; at most 1" in text
        assert "There is room again in" in text
        await world.bob.slash(world.channel, "imagine", prompt="bob's", steps=1)
        refused = await world.moderator.slash(world.channel, "imagine", prompt="third")
        assert "2 clips of this server" in told(refused)
        assert len(world.query("select id from jobs")) == 2


async def test_a_clip_that_waits_for_delivery_takes_nobodys_place(
    overrides: dict[str, Any],
) -> None:
    overrides["limits"] = {"max_active_jobs_per_user": 1}
    async with make_world(Settings.load(overrides=overrides)) as world:
        await world.imagine("first", steps=1)
        world.execute("update jobs set state = 'rendered', reason = 'undelivered'")
        assert await world.imagine("second", steps=1)


def manager(world: World, name: str = "manager") -> Any:
    """Somebody who may manage the server."""
    role = world.guild.create_role(name, permissions=discord.Permissions(manage_guild=True))
    return world.guild.add_member(world.env.create_user(name), roles=[role])


def operator(world: World) -> Any:
    """Somebody who operates the bot, and manages the server."""
    found = manager(world, "operator")
    settings = world.bot.settings
    named = settings.discord.model_copy(update={"operators": (found.id,)})
    world.bot.settings = settings.model_copy(update={"discord": named})
    return found


async def test_a_full_disk_refuses_before_a_job_is_stored(overrides: dict[str, Any]) -> None:
    overrides["limits"] = {"min_free_mb": 1_000_000}
    async with make_world(Settings.load(overrides=overrides)) as world:
        refused = await world.alice.slash(world.channel, "imagine", prompt="first")
        assert "1000000 are needed" in told(refused)
        assert world.query("select id from jobs") == []
        status = await operator(world).slash(world.channel, "admin status")
        assert "new clips are refused" in str(status.response.embeds[0].to_dict())


async def test_the_operator_sees_what_failed(world: World) -> None:
    await world.imagine("fine", steps=1)
    await world.imagine("broken", steps=1)
    world.execute(
        "update jobs set state = 'failed', reason = 'out_of_memory' where prompt = 'broken'"
    )
    status = await operator(world).slash(world.channel, "admin status")
    shown = status.response
    assert shown.ephemeral
    fields = {field.name: field.value for field in shown.embeds[0].fields}
    assert "models: tiny" in fields["cpu"]
    assert "clips since the start: 2" in fields["cpu"]
    assert fields["Queue"] == "0 being made, nobody waits"
    assert fields["Last 24 hours"] == "delivered 1\nfailed: out\\_of\\_memory 1"
    assert "GB free" in fields["Disk"]


async def test_who_manages_a_server_sees_nothing_but_that_server(world: World) -> None:
    await world.imagine("something private", steps=1)
    elsewhere = world.env.create_guild("Elsewhere")
    role = elsewhere.create_role("M", permissions=discord.Permissions(manage_guild=True))
    boss = elsewhere.add_member(world.env.create_user("boss"), roles=[role])
    there = await boss.slash(elsewhere.create_text_channel("x"), "admin status")
    here = await manager(world).slash(world.channel, "admin status")
    seen = [{f.name: f.value for f in said.response.embeds[0].fields} for said in (there, here)]
    assert seen[0] == {
        "Queue": "0 being made, 0 waiting for this server",
        "Last 24 hours": "no job has ended",
    }
    assert seen[1] == {**seen[0], "Last 24 hours": "delivered 1"}


async def test_the_queue_of_a_server_is_counted(world: World) -> None:
    await under_way(world, world.alice, "first")
    await world.bob.slash(world.channel, "imagine", prompt="second", steps=1)
    said = await manager(world).slash(world.channel, "admin status")
    assert said.response.embeds[0].fields[0].value == "1 being made, 1 waiting for this server"


@pytest.mark.parametrize(("count", "trouble"), [(30, "x" * 3000), (25, "*" * 900), (1, "y" * 9000)])
async def test_the_status_of_many_devices_fits(
    world: World, monkeypatch: pytest.MonkeyPatch, count: int, trouble: str
) -> None:
    await world.imagine(steps=1)
    (one,) = world.bot.engine.status()
    many = tuple(
        dataclasses.replace(
            one, device=f"ray:{n}", broken_models={f"model-{k}": trouble for k in range(9)}
        )
        for n in range(count)
    )
    monkeypatch.setattr(world.bot.engine, "status", lambda: many)
    said = await operator(world).slash(world.channel, "admin status")
    (embed,) = said.response.embeds
    assert 4 <= len(embed.fields) <= 25
    assert len(embed) <= 6000
    assert all(1 <= len(field.value) <= 1024 for field in embed.fields)
    assert embed.fields[-1].value.endswith("GB free")
    if count > 25:
        assert embed.fields[-4].name == "9 more devices"


async def test_clips_that_could_not_be_sent_stay_within_reach(world: World) -> None:
    await world.imagine("the lost one", steps=1)
    world.execute("update jobs set state = 'rendered', reason = 'undelivered', error = 'closed'")
    delivered = "select id from jobs where state = 'delivered'"
    for number in range(10):
        await world.imagine(f"later {number}", steps=1)
        await world.until(lambda n=number: len(world.query(delivered)) == n + 1)
    shown = (await world.alice.slash(world.channel, "history")).response
    first, *others = shown.embeds[0].description.splitlines()
    assert first.startswith("1. 📦 the lost one")
    assert len(others) == 10
    sent = await world.alice.click(shown, label="Send 1")
    assert sent.response.attachments
    shown = (await world.alice.slash(world.channel, "history")).response
    assert "the lost one" not in shown.embeds[0].description


async def test_a_long_history_fits(world: World) -> None:
    message = await world.imagine("w" * 400, steps=1)
    (job,), (clip,) = world.query("select * from jobs"), world.query("select * from generations")
    undelivered = {"state": "rendered", "reason": "undelivered", "error": "*" * 500}
    for number in range(40):
        name = f"{number:032x}"
        changed = {"id": name, "message_id": None} | (undelivered if number % 2 else {})
        for table, row in (("jobs", job | changed), ("generations", clip | {"id": name})):
            values = row | ({"job_id": name} if "job_id" in row else {})
            marks = ", ".join("?" for _ in values)
            world.execute(
                f"insert into {table} ({', '.join(values)}) values ({marks})", *values.values()
            )
    shown = (await world.alice.slash(world.channel, "history")).response
    assert len(shown.embeds[0].description) <= 4096
    buttons = [button for row in shown.components for button in row["components"]]
    assert len(buttons) <= 25
    assert "📦" in shown.embeds[0].description
    assert message.id


async def test_servers_have_weights(overrides: dict[str, Any]) -> None:
    overrides["queue"] = {"guild_weights": {"77": 2.5}}
    queue = Settings.load(overrides=overrides).queue
    assert (queue.weight_of(77), queue.weight_of(78), queue.weight_of(None)) == (2.5, 1.0, 1.0)


async def test_jobs_keep_their_order_over_a_restart(world: World) -> None:
    from tests.bot.test_restart import restart

    await under_way(world, world.alice, "running")
    for name, who in (("second", world.bob), ("third", world.moderator), ("last", world.alice)):
        await who.slash(world.channel, "imagine", prompt=name, steps=1)
    await restart(world)
    await world.until(
        lambda: world.query("select distinct state from jobs") == [{"state": "delivered"}]
    )
    rows = world.query("select prompt, started_at from jobs order by started_at")
    assert [row["prompt"] for row in rows] == ["running", "second", "third", "last"]


async def test_a_clip_that_was_fetched_is_not_posted_by_the_next_run(world: World) -> None:
    await world.imagine("a cat", steps=1)
    world.execute(
        "update jobs set state = 'rendered', reason = 'undelivered', error = 'closed',"
        " message_id = null"
    )
    shown = (await world.alice.slash(world.channel, "history")).response
    await world.alice.click(shown, label="Send 1")
    assert world.query("select state from jobs") == [{"state": "delivered"}]
    count = len(world.messages())
    await restart(world)
    await world.imagine("a dog", steps=1)
    assert len(world.messages()) == count + 1
