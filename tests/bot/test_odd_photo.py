"""A photograph with an odd note is taken; the engine's tests have more of them."""

from __future__ import annotations

from typing import Any

from bot.settings import Settings
from tests.bot.conftest import make_world
from tests.training.data.test_odd_photos import NOTES, photograph


async def test_animate_takes_it(overrides: dict[str, Any]) -> None:
    photo = ("a.jpg", photograph(NOTES["a letter for a width"]))
    async with make_world(Settings.load(overrides=overrides)) as world:
        result = await world.alice.slash(
            world.channel, "animate", image=photo, prompt="a cat", steps=2
        )
        said = [answer.content for answer in [result.response, *result.followups] if answer]
        assert not any("went wrong" in text for text in said if text), said
