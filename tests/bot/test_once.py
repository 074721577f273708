"""One command looks at its parameters, its model and its picture once."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import PIL.Image
import pytest

from engine.checkpoints.catalog import Catalog
from engine.serving import Engine
from tests.bot.conftest import World, picture


@pytest.fixture
def calls(world: World, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each of these was called since the bot was started."""
    counted: Counter[str] = Counter()

    def count(owner: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(real)
        def called(*args: Any, **kwargs: Any) -> Any:
            counted[name] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, called)

    count(Engine, "resolve")
    count(Engine, "reword")
    count(Catalog, "get")
    count(PIL.Image, "open")
    return counted


async def test_imagine_resolves_once(world: World, calls: Counter[str]) -> None:
    await world.imagine("a cat", steps=1)
    assert calls == {"resolve": 1, "get": 1}


async def test_imagine_with_expansion_only_changes_the_words(
    world: World, calls: Counter[str]
) -> None:
    message = await world.imagine("a cat", steps=1, expand=True)
    assert calls == {"resolve": 1, "reword": 1, "get": 1}
    (job,) = world.query("select prompt, steps, num_frames from jobs")
    (clip,) = world.query("select prompt, expanded_prompt, steps, num_frames from generations")
    assert (job["prompt"], clip["prompt"]) == ("a cat", "a cat")
    assert (job["steps"], job["num_frames"]) == (clip["steps"], clip["num_frames"])
    assert any(field.value == clip["expanded_prompt"] for field in message.embeds[0].fields)


async def test_animate_with_expansion_decodes_its_picture_once(
    world: World, calls: Counter[str]
) -> None:
    result = await world.alice.slash(
        world.channel,
        "animate",
        image=("cat.png", picture()),
        prompt="it waves",
        steps=1,
        expand=True,
    )
    await world.clip(result.response.id)
    assert calls == {"resolve": 1, "reword": 1, "get": 1, "open": 1}
