"""Who may have clips made: servers, direct messages, blocked people, and how often."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import discord
import pytest

from bot.settings import Settings
from tests.bot.conftest import World, make_world, picture
from tests.bot.test_job_commands import operator, told, under_way


def jobs(world: World) -> list[dict[str, Any]]:
    return world.query("select * from jobs")


def member(world: World) -> Any:
    """Somebody of the server, outside of it: whom direct messages are with."""
    dana = world.env.create_user("dana")
    world.guild.add_member(dana)
    return dana


async def in_direct_messages(who: Any, command: str = "imagine", **options: Any) -> Any:
    return await who.slash(command, **({"prompt": "a cat", "steps": 1} | options))


def no_download(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Attachments that were fetched."""
    fetched: list[str] = []

    async def read(self: discord.Attachment, **_: Any) -> bytes:
        fetched.append(self.filename)
        return picture()

    monkeypatch.setattr(discord.Attachment, "read", read)
    return fetched


async def test_a_stranger_is_refused_in_a_direct_message(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = no_download(monkeypatch)
    stranger = world.env.create_user("stranger")
    assert "share a server" in told(await in_direct_messages(stranger))
    said = await stranger.slash("animate", image=("a.png", picture()))
    assert "share a server" in told(said)
    assert (jobs(world), fetched) == ([], [])


async def test_a_member_may_use_direct_messages(world: World) -> None:
    await in_direct_messages(member(world))
    await world.until(lambda: world.query("select id from jobs where state = 'delivered'"))
    assert [job["guild_id"] for job in jobs(world)] == [None]


async def test_who_was_banned_is_refused_there(world: World) -> None:
    dana = member(world)
    await in_direct_messages(dana)
    await world.until(lambda: world.query("select id from jobs where state = 'delivered'"))
    (clip,) = [message for message in dana.dm_channel.history() if message.attachments]
    world.env.backend.remove_member(world.guild.id, dana.id)
    world.bot.studio.admission._shared._answers.clear()  # minutes later
    assert "share a server" in told(await in_direct_messages(dana))
    assert "share a server" in told(await dana.click(clip, label="Re-roll"))
    assert len(jobs(world)) == 1


async def test_one_shared_server_of_several_is_enough(world: World) -> None:
    for number in range(5):
        world.env.create_guild(f"Other {number}")
    await in_direct_messages(member(world))
    assert len(jobs(world)) == 1


async def test_discord_is_not_asked_each_time(world: World) -> None:
    stranger = world.env.create_user("stranger")
    for _ in range(5):
        await in_direct_messages(stranger)
    asked = [r for r in world.env.http_requests if f"/members/{stranger.id}" in r.path]
    assert len(asked) == 1


@pytest.mark.parametrize("status", [500, 403, 429])
async def test_without_an_answer_of_discord_nobody_is_let_in(
    world: World, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    world.env.inject_error("GET", "/guilds/*/members/*", status=status, times=None)
    dana = member(world)
    assert "could not be found out" in told(await in_direct_messages(dana))
    assert jobs(world) == []
    assert not [record for record in caplog.records if record.exc_info]
    world.env.backend.faults.clear()
    await in_direct_messages(dana)
    assert len(jobs(world)) == 1


async def test_direct_messages_can_be_closed_or_open(overrides: dict[str, Any]) -> None:
    overrides["discord"] = {"direct_messages": "nobody"}
    async with make_world(Settings.load(overrides=overrides)) as world:
        assert "no orders in direct messages" in told(await in_direct_messages(member(world)))
        assert jobs(world) == []
    overrides["discord"] = {"direct_messages": "anyone"}
    async with make_world(Settings.load(overrides=overrides)) as world:
        await in_direct_messages(world.env.create_user("stranger"))
        assert len(jobs(world)) == 1


async def test_other_servers_are_left(
    overrides: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    # The simulated Discord counts its ids: the first server has the same one every time.
    async with make_world(Settings.load(overrides=overrides)) as world:
        home = world.guild.id
    overrides["discord"] = {"servers": [home]}
    overrides["data_dir"] += "-2"
    async with make_world(Settings.load(overrides=overrides)) as world:
        assert world.guild.id == home
        with caplog.at_level(logging.WARNING):
            elsewhere = world.env.create_guild("Elsewhere")
            await world.env.settle()
        assert [guild.id for guild in world.bot.guilds] == [home]
        assert [r for r in caplog.records if str(elsewhere.id) in r.getMessage()]
        assert await world.imagine(steps=1)


async def test_a_server_that_is_not_named_is_left_at_the_start_and_refused(
    overrides: dict[str, Any],
) -> None:
    overrides["discord"] = {"servers": [77]}
    async with make_world(Settings.load(overrides=overrides)) as world:
        world.env.inject_error("DELETE", "/users/@me/guilds/*", status=500, times=None)
        await world.bot.get_cog("AllowedServers").on_ready()  # type: ignore[union-attr]
        said = await world.alice.slash(world.channel, "imagine", prompt="a cat")
        assert "not this server" in told(said) or "no clips for this server" in told(said)
        # Nor does it open the way into direct messages.
        assert "share a server" in told(await in_direct_messages(member(world)))
        assert jobs(world) == []
        world.env.backend.faults.clear()
        await world.bot.get_cog("AllowedServers").on_ready()  # type: ignore[union-attr]
        await world.env.settle()
        assert list(world.bot.guilds) == []


async def test_without_a_list_no_server_is_left(world: World) -> None:
    world.env.create_guild("Elsewhere")
    await world.env.settle()
    assert len(world.bot.guilds) == 2


async def test_blocked_people_make_and_rate_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = no_download(monkeypatch)
    boss = operator(world)
    mine = await world.imagine("alice's", steps=1)
    said = await boss.slash(world.channel, "admin block", user=world.bob)
    assert "is blocked now" in told(said)
    said = await boss.slash(world.channel, "admin block", user=world.bob)
    assert "blocked already" in told(said)
    for refused in (
        await world.bob.slash(world.channel, "imagine", prompt="a cat"),
        await world.bob.slash(world.channel, "animate", image=("a.png", picture())),
        await world.bob.click(mine, label="Re-roll"),
    ):
        assert "shut you out" in told(refused)
    await world.bob.react(mine, "👎")
    await world.env.settle()
    assert world.query("select * from ratings") == []
    assert (len(jobs(world)), fetched) == (1, [])
    said = await boss.slash(world.channel, "admin unblock", user=world.bob)
    assert "again" in told(said)
    assert "is not blocked" in told(
        await boss.slash(world.channel, "admin unblock", user=world.bob)
    )
    await world.bob.slash(world.channel, "imagine", prompt="a cat", steps=1)
    assert len(jobs(world)) == 2


async def test_blocked_people_still_end_and_delete_what_is_theirs(world: World) -> None:
    boss = operator(world)
    mine = await world.imagine("alice's", steps=1)
    running = await under_way(world, world.alice, "more of it")
    await boss.slash(world.channel, "admin block", user=world.alice)
    assert "Cancelled" in told(await world.alice.slash(world.channel, "cancel"))
    await world.alice.click(mine, label="Delete")
    assert world.message(mine.id) is None
    assert running.response.id


async def test_only_operators_block_and_none_of_them(world: World) -> None:
    boss = operator(world)
    role = world.guild.create_role("M", permissions=discord.Permissions(manage_guild=True))
    manager = world.guild.add_member(world.env.create_user("manager"), roles=[role])
    for command in ("admin block", "admin unblock"):
        said = await manager.slash(world.channel, command, user=world.bob)
        assert "Only the operators" in told(said)
    assert "cannot be blocked" in told(await boss.slash(world.channel, "admin block", user=boss))
    assert world.query("select * from blocks") == []


async def test_so_many_jobs_an_hour_whatever_becomes_of_them(
    overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = no_download(monkeypatch)
    overrides["limits"] = {"max_jobs_per_user_per_hour": 3}
    async with make_world(Settings.load(overrides=overrides)) as world:
        for _ in range(3):
            await world.alice.slash(world.channel, "imagine", prompt="a cat", steps=60)
            await world.alice.slash(world.channel, "cancel")
        for refused in (
            await world.alice.slash(world.channel, "imagine", prompt="a cat", expand=True),
            await world.alice.slash(world.channel, "animate", image=("a.png", picture())),
        ):
            assert "3 clips within an hour" in told(refused)
            assert "in about 1 h 00 min" in told(refused)
        assert (len(jobs(world)), fetched) == (3, [])
        await world.bob.slash(world.channel, "imagine", prompt="a dog", steps=1)
        assert len(jobs(world)) == 4
        ago = datetime.now(UTC) - timedelta(minutes=50)
        world.execute("update jobs set created_at = ?", ago.strftime("%Y-%m-%d %H:%M:%S.%f"))
        refused = await world.alice.slash(world.channel, "imagine", prompt="a cat")
        assert "in about 10 min" in told(refused)
        ago -= timedelta(minutes=11)
        world.execute("update jobs set created_at = ?", ago.strftime("%Y-%m-%d %H:%M:%S.%f"))
        await world.alice.slash(world.channel, "imagine", prompt="a cat", steps=1)
        assert len(jobs(world)) == 5


async def test_commands_at_the_same_moment_do_not_pass_the_hourly_limit(
    overrides: dict[str, Any],
) -> None:
    overrides["limits"] = {"max_jobs_per_user_per_hour": 2, "max_active_jobs_per_user": 50}
    async with make_world(Settings.load(overrides=overrides)) as world:
        admission = world.bot.studio.admission
        await asyncio.gather(*(admission.check_person(world.alice.id, 1) for _ in range(10)))
        for _ in range(4):
            await world.alice.slash(world.channel, "imagine", prompt="a cat", steps=1)
        assert len(jobs(world)) == 2


async def test_a_rerolled_clip_counts_for_who_clicked(overrides: dict[str, Any]) -> None:
    overrides["limits"] = {"max_jobs_per_user_per_hour": 1}
    async with make_world(Settings.load(overrides=overrides)) as world:
        message = await world.imagine(steps=1)
        assert "1 clip within an hour" in told(await world.alice.click(message, label="Re-roll"))
        await world.bob.click(message, label="Re-roll")
        assert "1 clip within an hour" in told(await world.bob.click(message, label="Re-roll"))
        assert len(jobs(world)) == 2
