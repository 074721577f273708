"""The comparison of an expansion with what the user wrote."""

import pytest

from prompt_expansion.faithful import find_contradiction, preserves_keywords


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("a cat surfing", "A CAT surfs a wave"),
        ("two cats racing", "two cat race"),
        ("3 dogs running", "three dogs run"),
        ("the man's hat", "a hat, the man’s own"),
        ("grey sky", "gray sky"),
        ("猫在冲浪", "夜晚,猫在冲浪"),
        ("🙂", "🙂 waving"),
    ],
)
def test_words_survive_with_other_endings(prompt, answer):
    assert preserves_keywords(prompt, answer)


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("a cat surfing", "a dog surfing"),
        ("a cat surfing", "scattered surfing"),
        ("two cars", "cars"),
        ("a bird not flying", "a bird flying"),
        ("猫在冲浪", "a cat surfing"),
        ("🙂", "a smile"),
    ],
)
def test_lost_words_are_noticed(prompt, answer):
    assert not preserves_keywords(prompt, answer)


@pytest.mark.parametrize(
    ("prompt", "answer", "word"),
    [
        ("a ball moving left", "a ball moving right", "right"),
        ("a ball moving left", "a ball moving left to right", "right"),
        ("smoke drifts up", "smoke drifts up and then down", "down"),
        ("a wheel turning clockwise", "a wheel turning counter-clockwise", "counter-clockwise"),
        ("sun rising", "the sun falling", "falling"),
        ("a red ball", "a red, then blue ball", "blue"),
        ("a red sports car", "a fast blue car", "blue"),
        ("a red ball and a green box", "a green ball and a red box", "green"),
        ("a black and white cat", "a black and orange cat", "orange"),
        ("balloons, no people", "balloons, many people", "people"),
        ("a horse without a rider", "a horse with its rider", "rider"),
        ("a bird that isn't flying", "a bird flying", "flying"),
        ("a cake with three candles", "a cake with four candles", "four"),
        ("3 candles on a cake", "three candles, five candles", "five"),
        ("five dogs and one cat", "one dog and five cats", "one"),
        ("a cat", "three white cats", "three"),
        ("two dogs playing", "a dog playing", "a"),
        ("blood on the wall", "a wall, no blood", "blood"),
        ("people dancing", "dancing without people", "people"),
    ],
)
def test_contradictions_are_named(prompt, answer, word):
    assert find_contradiction(prompt, answer) == word


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("a ball moving left", "a ball moving left, coming from the right"),
        ("a ball moving left", "a ball moving right to left"),
        ("a ball going left and right", "a ball going left, then right"),
        ("close-up of a candle", "close-up of a candle, wax dripping down"),
        ("snow falls on a village", "snow falls on a village, smoke rises"),
        ("a red ball", "a red ball on green grass under a blue sky"),
        ("a golden crown", "a gold crown"),
        ("a red apple, wooden table", "a red apple on a brown wooden table"),
        ("balloons, no people", "balloons over a field without any people"),
        ("a cat", "a white cat looking up"),
        ("3 candles", "three candles on two plates"),
        ("two dogs", "two dogs, both chasing a ball"),
        ("a cat", "a cat watching two birds"),
        ("a horse without a rider", "a horse without a rider, no saddle"),
    ],
)
def test_what_only_adds_is_no_contradiction(prompt, answer):
    assert find_contradiction(prompt, answer) is None
