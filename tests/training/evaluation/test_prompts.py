"""Prompts and the facts they demand."""

from __future__ import annotations

import pytest

from training.data.captions import (
    BACKGROUND_WORDS,
    DIRECTION_WORDS,
    OTHER_MOTION_WORDS,
    SHAPE_WORDS,
)
from training.data.synthetic import BACKGROUNDS, DIRECTIONS, MOTIONS, held_out
from training.evaluation.prompts import draw_cases, draw_prompts


def test_a_draw_is_repeatable_and_extends():
    assert draw_prompts(30, 4) == draw_prompts(30, 4)
    assert draw_prompts(50, 4)[:30] == draw_prompts(30, 4)
    assert draw_prompts(30, 4) != draw_prompts(30, 5)


def test_prompts_say_what_they_demand():
    prompts = draw_prompts(300, 0)
    for prompt in prompts:
        assert prompt.colour in prompt.text
        assert any(word in prompt.text for word in SHAPE_WORDS[prompt.shape])
        if prompt.background is not None:
            assert any(word in prompt.text for word in BACKGROUND_WORDS[prompt.background])
        else:
            assert not any(f"{name} background" in prompt.text for name in BACKGROUNDS)
    assert {prompt.motion for prompt in prompts} == {*MOTIONS, None}
    # The world leaves the background unsaid one time in four.
    assert 0.65 < sum(p.background is not None for p in prompts) / len(prompts) < 0.85


def test_direction_is_demanded_only_by_directions():
    for prompt in draw_prompts(200, 1):
        if prompt.motion in DIRECTIONS:
            assert prompt.direction == prompt.motion
            words = (*DIRECTION_WORDS[prompt.motion], *OTHER_MOTION_WORDS.get(prompt.motion, ()))
            assert any(word in prompt.text for word in words)
        else:
            assert prompt.direction is None


def test_still_is_demanded_only_when_said():
    still = [p for p in draw_prompts(200, 2, moving=0.0) if p.motion in ("still", None)]
    said = ("still", "not moving", "resting", "does not move")
    assert {p.motion for p in still} == {"still", None}
    for prompt in still:
        assert any(words in prompt.text for words in said) == (prompt.motion == "still")


def test_moving_is_the_share_of_directions():
    assert all(p.direction for p in draw_prompts(40, 3, moving=1.0))
    assert not any(p.direction for p in draw_prompts(40, 3, moving=0.0))


def test_no_prompts_is_an_error():
    with pytest.raises(ValueError, match="n must be 1 or more, not 0"):
        draw_prompts(0, 0)


@pytest.mark.parametrize("split", ["held-out", "train"])
def test_a_split_is_asked_for_in_full(split):
    cases = draw_cases(60, 5, split=split)
    for case in cases:
        assert held_out(case.scene) == (split == "held-out")
        facts = case.scene.colour, case.scene.background, case.scene.shape, case.scene.motion
        asked = case.prompt
        # What a prompt leaves open is no combination that training could have missed.
        assert (asked.colour, asked.background, asked.shape, asked.motion) == facts
    assert {case.prompt.motion for case in cases} == set(MOTIONS)


def test_prompts_are_those_of_the_cases():
    cases = draw_cases(10, 4, split="held-out")
    assert draw_prompts(10, 4, split="held-out") == tuple(case.prompt for case in cases)
